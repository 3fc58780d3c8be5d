"""A clock that only a test advances."""


class Clock:
    """
    Monotonic seconds, for whatever takes `clock` as a parameter.

    Attributes:
        now: what the next call returns.
    """

    now = 1000.0

    def __call__(self) -> float:
        return self.now
