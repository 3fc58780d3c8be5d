"""Which processes are in each network namespace: bookkeeping, without I/O."""

from exporter.model import Ino


class NetnsMembers:
    """
    The processes of each network namespace.

    Attributes:
        pids_by_netns: the pids in each namespace that has any.
        generations: A number for each of these namespaces, which changes whenever a
            process is added to it. No number is used twice, in any namespace.
    """

    def __init__(self) -> None:
        self.pids_by_netns: dict[Ino, set[int]] = {}
        self.generations: dict[Ino, int] = {}
        self._generation = 0
        self._netns_by_pid: dict[int, Ino] = {}

    def netns(self, pid: int) -> Ino | None:
        """Return the namespace of *pid*, None if it is in none."""
        return self._netns_by_pid.get(pid)

    def move(self, pid: int, ino: Ino | None) -> None:
        """Record that *pid* is in *ino* now; None removes it."""
        before = self._netns_by_pid.get(pid)
        if ino == before:
            return
        if before is not None:
            self._remove(pid, before)
        if ino is not None:
            self._netns_by_pid[pid] = ino
            self.pids_by_netns.setdefault(ino, set()).add(pid)
            self._generation += 1
            self.generations[ino] = self._generation

    def _remove(self, pid: int, ino: Ino) -> None:
        del self._netns_by_pid[pid]
        pids = self.pids_by_netns[ino]
        pids.discard(pid)
        if not pids:
            del self.pids_by_netns[ino]
            del self.generations[ino]
