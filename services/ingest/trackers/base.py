"""What every tracker's adapter gives: polls and, where it can, settlements of epochs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from services.kernel.errors import SourceError
from services.kernel.events import EarningsReport, NodeReading
from services.kernel.wire import FUTURE_TOLERANCE


@dataclass(frozen=True, slots=True)
class Poll:
    """One successful answer of a source."""

    readings: tuple[NodeReading, ...]
    data_at: datetime
    """When the source saw this: `cached_at`, or the block time. An answer that is no newer is not published again."""
    epoch: int | None = None
    height: int | None = None
    complete: bool = True
    """Whether everything that such a poll asks for was answered in full."""
    skipped: tuple[str, ...] = ()
    """Why rows were left out, one reason a row."""
    newest_settled: int | None = None
    """The newest epoch that has settled, for sources that know."""
    estimates: tuple[EarningsReport, ...] = ()
    """What hosts may earn in the running epoch, for sources that know: not final."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a source says hosts earned in one settled epoch."""

    epoch: int
    reports: tuple[EarningsReport, ...]
    complete: bool
    """False when hosts are missing: ask again later."""
    skipped: tuple[str, ...] = ()
    total_ngonka: int | None = None
    """What the source says that all hosts together were rewarded, where that is all it says: then without reports."""


class Tracker(Protocol):
    """An adapter of one source."""

    async def poll(self) -> Poll:
        """Ask the source once, from one base URL after the other until one answers. Raises SourceError."""
        ...

    async def aclose(self) -> None:
        """Close its connections."""
        ...


@runtime_checkable
class SettlingTracker(Tracker, Protocol):
    """An adapter that also knows what epochs paid."""

    async def settled(self, epoch: int) -> Settlement | None:
        """What the epoch paid; None when that is not known yet. Raises SourceError."""
        ...


@runtime_checkable
class TotallingTracker(Tracker, Protocol):
    """An adapter that does not know what each host was paid, but what all of them were rewarded together."""

    async def total(self, epoch: int) -> int | None:
        """The source's own total of the epoch's reward coins, in ngonka; None when it has none. Raises SourceError."""
        ...


class BaseUrls:
    """A source's base URLs in the order to ask them: the one that answered last first."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = tuple(urls)
        self._first = 0

    def in_order(self) -> tuple[str, ...]:
        """Every base URL once."""
        return self._urls[self._first :] + self._urls[: self._first]

    def answered(self, url: str) -> None:
        """Begin with this one next time."""
        self._first = self._urls.index(url)


def every_failure(errors: Sequence[SourceError]) -> SourceError:
    """One error for the failures of all base URLs."""
    return SourceError("; ".join(dict.fromkeys(str(error) for error in errors))[:480])


def not_ahead(moment: datetime, now: datetime, what: str) -> datetime:
    """The moment, or SourceError when it is so far ahead that it would win every merge."""
    if moment > now + FUTURE_TOLERANCE:
        raise SourceError(f"{what}: its time {moment.isoformat()} is ahead of ours")
    return moment
