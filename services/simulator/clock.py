"""Clocks to give to the simulator: the real one, and one that only moves when it is told to."""

from datetime import UTC, datetime, timedelta


def utc_now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


class VirtualClock:
    """A clock for tests: call it for the time, set `now` or `advance` to move it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """The time it stands at."""
        return self.now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by
