"""
Files that other parties control, read by a process that may wait for them for ever.

A file system may never answer: FUSE, whose server is anybody's program, or NFS. What
leads there is a path below /proc/PID/root, a bundle that a user's runtime names, or a
mount point; the collector opens none of them.

- records: what the collector and the file reader process send each other
- bundle_directory: read a directory in which a runtime has an entry per container
- bundle_index: all containers of the node: its own directories, and what has arrived of
  the others
- client, connection: the collector's end of the file reader
- workers: threads, of which some may wait for ever
- foreign, doors: what they read: the directories of supervisors; mounted namespaces
"""
