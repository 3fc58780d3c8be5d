"""
The attacks of a soak, each in a process of its own, until it receives SIGTERM.

- attack: what all of them share: their target, what they count
- namespaces: births and deaths of namespaces, with hostile names; forks
- cgroups: those of the processes of an attack
- pins: whether a namespace is gone after its end
- listeners: sockets that come and go, with full queues
- hung_files: namespaces on FUSE file systems whose server hangs
- peers: connections that stall, do not read, guess passwords, or request hostile pages
- reloads: web configurations that are invalid, empty or a bomb
"""

from bench.soak.attacks import hung_files, listeners, namespaces, peers, reloads
from bench.soak.attacks.attack import Attack

ATTACKS: dict[str, Attack] = {
    "churn": namespaces.churn,
    "mounts": namespaces.mounts,
    "floods": namespaces.floods,
    "forks": namespaces.forks,
    "listeners": listeners.listeners,
    "fuse": hung_files.hung_files,
    "stalls": peers.stalls,
    "guesses": peers.guesses,
    "pages": peers.pages,
    "reloads": reloads.reloads,
}
