"""Which epochs to ask ingest for next, and what became of those that were asked for. Times are a clock's seconds."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.kernel.events import SourceStatus

UNTRIED_AT_ONCE = 50
UNFINISHED_AT_ONCE = 250
"""Half of what ingest lets wait: room for other requests, such as another backfill's."""

GIVE_UP_AFTER_TRIES = 5
"""Ingest pauses for 1, 2, 4 and 8 intervals between them: a quarter of an hour at 60 s."""


@dataclass(slots=True)
class _Asked:
    at: float
    tries: int = 0
    problem: str = ""


class Asking:
    """A source's epochs on their way: waiting, asked for, then published or given up. The newest are asked for first.

    Few are outstanding at once. One of which nothing is heard for `again_after` seconds is asked for again: a request
    can be lost, and a repeated one is harmless.
    """

    def __init__(self, epochs: Iterable[int], *, again_after: float) -> None:
        self._waiting = dict.fromkeys(sorted(epochs))  # its last is the newest
        self._again_after = again_after
        self._asked: dict[int, _Asked] = {}
        self.published: set[int] = set()
        self.given_up: dict[int, str] = {}
        """What was tried often enough, with the last problem. Ingest may yet publish it."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to ask for or to wait for."""
        return not self._waiting and not self._asked

    @property
    def problem(self) -> str:
        """What keeps epochs from being published that were tried and wait for another try; empty when none does."""
        problems = [(epoch, asked.problem) for epoch, asked in self._asked.items() if asked.problem]
        return f"{len(problems):,} to be tried again, epoch {max(problems)[0]}: {max(problems)[1]}" if problems else ""

    def due(self, now: float) -> list[int]:
        """The epochs to ask for now; they count as asked for."""
        silent = [epoch for epoch, asked in self._asked.items() if now - asked.at >= self._again_after]
        untried = sum(not asked.tries for asked in self._asked.values())
        room = min(UNTRIED_AT_ONCE - untried, UNFINISHED_AT_ONCE - len(self._asked), len(self._waiting))
        for _ in range(room):
            epoch, _ = self._waiting.popitem()
            self._asked[epoch] = _Asked(now)
            silent.append(epoch)
        for epoch in silent:
            self._asked[epoch].at = now
        return silent

    def hear(self, status: SourceStatus, now: float) -> None:
        """Take note of what ingest tells about the source."""
        if status.published_epoch is not None:
            self._published(status.published_epoch)
        if (epoch := status.unpublished_epoch) is not None and epoch in self._asked:
            self._tried(epoch, status.unpublished_reason or "unknown", now)
        if status.last_attempt_at is None:  # a poller that has just begun knows nothing of what was asked before
            for each in self._asked.values():
                each.at = now - self._again_after

    def _published(self, epoch: int) -> None:
        wanted = epoch in self._waiting or epoch in self._asked or epoch in self.given_up
        self._waiting.pop(epoch, None)
        self._asked.pop(epoch, None)
        self.given_up.pop(epoch, None)
        if wanted:
            self.published.add(epoch)

    def _tried(self, epoch: int, problem: str, now: float) -> None:
        asked = self._asked[epoch]
        asked.at, asked.tries, asked.problem = now, asked.tries + 1, problem
        if asked.tries >= GIVE_UP_AFTER_TRIES:
            del self._asked[epoch]
            self.given_up[epoch] = problem
