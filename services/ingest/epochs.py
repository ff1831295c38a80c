"""The epochs whose settlement a source has still to publish."""

from dataclasses import dataclass

CAPACITY = 500
"""Requests that wait at most; what has just settled is taken all the same."""

MAX_TRIES = 12
"""With pauses doubling up to ten intervals: a good hour and a half at 60 s, longer than late zeros last."""

TOTAL_TRIES = 8
"""For a source's own total: three quarters of an hour at 60 s. A tracker shows the next epoch up to half an hour before
the last one settles, and adds up every ten minutes; one that never states a total is not asked for it all day."""

_LONGEST_PAUSE_INTERVALS = 10


@dataclass(slots=True)
class _Entry:
    live: bool
    tries: int
    due: float


class EpochQueue:
    """Epochs to ask for, each once. Times are a clock's seconds.

    Live ones, which have just settled or may be restated, go before all that were only requested: no number of requests
    delays them. Among equals, the least tried and newest goes first.
    """

    def __init__(self, interval_seconds: float, *, max_tries: int = MAX_TRIES) -> None:
        self._interval = interval_seconds
        self._max_tries = max_tries
        self._entries: dict[int, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, epoch: int) -> bool:
        return epoch in self._entries

    def add(self, epoch: int, now: float, *, live: bool = False) -> bool:
        """Put the epoch in, due now. False when it is in already (its pause stays), or when too many are requested.

        A requested epoch that becomes live begins anew.
        """
        held = self._entries.get(epoch)
        if held is not None and (held.live or not live):
            return False
        if not live and len(self._entries) >= CAPACITY:
            return False
        self._entries[epoch] = _Entry(live, tries=0, due=now)
        return True

    def next(self, now: float, *, live: bool = False) -> int | None:
        """The epoch to ask for now, or the live one; None when none is due."""
        due = [
            (not entry.live, entry.tries, -epoch)
            for epoch, entry in self._entries.items()
            if entry.due <= now and (entry.live or not live)
        ]
        return -min(due)[2] if due else None

    def is_live(self, epoch: int) -> bool:
        """Whether the epoch is in, and live."""
        entry = self._entries.get(epoch)
        return entry is not None and entry.live

    def pause(self, now: float, *, live: bool = False) -> float | None:
        """Seconds until one is due, or a live one; None when there is none."""
        due = [entry.due for entry in self._entries.values() if entry.live or not live]
        return max(min(due) - now, 0.0) if due else None

    def done(self, epoch: int) -> None:
        """The epoch is published in full."""
        self._entries.pop(epoch, None)

    def later(self, epoch: int, now: float) -> bool:
        """Ask for it again after a pause. False when it was tried often enough and is dropped."""
        entry = self._entries.get(epoch)
        if entry is None:
            return False
        entry.tries += 1
        if entry.tries >= self._max_tries:
            del self._entries[epoch]
            return False
        entry.due = now + self._interval * min(2 ** (entry.tries - 1), _LONGEST_PAUSE_INTERVALS)
        return True
