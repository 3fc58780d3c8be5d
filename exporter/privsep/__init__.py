"""The privilege boundary: the channel between processes, capabilities, sockets."""
