"""
The boundary between the privileged collector and the unprivileged processes.

`serve` is up to three processes of this program: the collector keeps three capabilities
and never reads from the network; the server has none and answers HTTP; the runtime
poller has none and requests metadata from container runtimes. The collector accepts two
requests, a byte each, from the server, and nothing else: Request in framing.py.

- framing: the requests and the framed replies between two processes
- channel: both ends of the channel between collector and server
- spawn: start this program in another role
- privileges: drop capabilities and the user, apply Landlock, and check it
- sockets: bind the listening sockets, before privileges are dropped
- sd_notify: report the state of the service to systemd
"""
