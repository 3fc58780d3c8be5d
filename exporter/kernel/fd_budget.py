"""A limit to the files that the collector holds open, by kind."""


class FdBudget:
    """
    The number of files of one kind that may be held open at once.

    Each open sysctl file takes about 1.1 KiB of kernel memory.

    Attributes:
        limit: maximum number of files, from RLIMIT_NOFILE and the configuration. May
            be lowered below *held*: then nothing is granted until enough is released.
        held: number of files reserved now.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def reserve(self, count: int) -> int:
        """Reserve up to *count* files; return how many were granted."""
        granted = max(0, min(count, self.limit - self.held))
        self.held += granted
        return granted

    def release(self, count: int) -> None:
        """Release *count* reserved files."""
        self.held -= count
