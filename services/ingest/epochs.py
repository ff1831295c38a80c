"""The epochs whose settlement a source has still to publish."""

from dataclasses import dataclass

CAPACITY = 500
MAX_TRIES = 12
"""With pauses doubling up to ten intervals: a good hour and a half at 60 s, longer than late zeros last."""

_LONGEST_PAUSE_INTERVALS = 10


@dataclass(slots=True)
class _Entry:
    tries: int
    due: float


class EpochQueue:
    """Epochs to ask for: each once, a bounded number, the least tried and newest first. Times are a clock's seconds."""

    def __init__(self, interval_seconds: float) -> None:
        self._interval = interval_seconds
        self._entries: dict[int, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, epoch: int) -> bool:
        return epoch in self._entries

    def add(self, epoch: int, now: float) -> bool:
        """Put the epoch in, due now. False when it is in already (its pause stays), or when the queue is full."""
        if epoch in self._entries or len(self._entries) >= CAPACITY:
            return False
        self._entries[epoch] = _Entry(tries=0, due=now)
        return True

    def next(self, now: float) -> int | None:
        """The epoch to ask for now; None when none is due."""
        due = [(entry.tries, -epoch) for epoch, entry in self._entries.items() if entry.due <= now]
        return -min(due)[1] if due else None

    def pause(self, now: float) -> float | None:
        """Seconds until one is due; None when the queue is empty."""
        return max(min(entry.due for entry in self._entries.values()) - now, 0.0) if self._entries else None

    def done(self, epoch: int) -> None:
        """The epoch is published in full."""
        self._entries.pop(epoch, None)

    def later(self, epoch: int, now: float) -> bool:
        """Ask for it again after a pause. False when it was tried often enough and is dropped."""
        entry = self._entries.get(epoch)
        if entry is None:
            return False
        entry.tries += 1
        if entry.tries >= MAX_TRIES:
            del self._entries[epoch]
            return False
        entry.due = now + self._interval * min(2 ** (entry.tries - 1), _LONGEST_PAUSE_INTERVALS)
        return True
