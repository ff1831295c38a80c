"""A clock that tests move, a publisher that keeps events, and short ways to sources and replies."""

import asyncio
import heapq
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from services.ingest.http import Fetcher
from services.ingest.sources import Source
from services.kernel.events import EarningsReport, Event, NodeReading, SourceStatus

START = datetime(2026, 1, 1, tzinfo=UTC)

ALICE = "gonka1alice"
BOB = "gonka1bob"
CAROL = "gonka1carol"


class ManualClock:
    """Time that only `advance` moves or, with `hurry`, every sleep at once."""

    def __init__(self, start: datetime = START, *, hurry: bool = False) -> None:
        self._start = start
        self._elapsed = 0.0
        self._hurry = hurry
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self._hurry:
            self._elapsed += seconds
            await asyncio.sleep(0)
            return
        done = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), done))
        await done

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking sleepers in order, each before the next."""
        target = self._elapsed + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, done = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, due)
            if not done.done():
                done.set_result(None)
            await settle()
        self._elapsed = target


async def settle() -> None:
    """Let every task do what it can do without time passing."""
    for _ in range(50):
        await asyncio.sleep(0)


class KeptEvents:
    """A publisher that keeps what it is given, and fails as long as it is told to."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.failing = False

    async def publish(self, events: Sequence[Event]) -> None:
        if self.failing:
            raise ConnectionError("the broker is away")
        self.events += events

    @property
    def readings(self) -> list[NodeReading]:
        return [event for event in self.events if isinstance(event, NodeReading)]

    @property
    def reports(self) -> list[EarningsReport]:
        return [event for event in self.events if isinstance(event, EarningsReport)]

    @property
    def statuses(self) -> list[SourceStatus]:
        return [event for event in self.events if isinstance(event, SourceStatus)]


def a_source(*urls: str, kind: str = "gonka_api", **more: Any) -> Source:
    values = {
        "name": kind,
        "kind": kind,
        "base_urls": list(urls) or ["http://127.0.0.1:9"],
        "poll_interval": 60,
        "requests_per_minute": 6000,
        "allow_private": True,
        **more,
    }
    return Source.model_validate(values)


def a_fetcher(clock: ManualClock, **more: Any) -> Fetcher:
    defaults = {"requests_per_minute": 6000, "timeout": timedelta(seconds=5), "allow_private": True}
    return Fetcher(**{**defaults, "clock": clock, **more})


def member(address: str, **more: Any) -> dict[str, Any]:
    return {"index": address, "weight": 10, "models": ["M"], "validator_key": f"key-{address}", **more}


def active(*members: dict[str, Any], epoch: int = 7, **more: Any) -> dict[str, Any]:
    return {"active_participants": {"participants": list(members), "epoch_id": epoch}, **more}


def participant(address: str, jobs: Any = "3", **more: Any) -> dict[str, Any]:
    return {
        "index": address,
        "address": address,
        "weight": -1,
        "status": "ACTIVE",
        "validator_key": f"key-{address}",
        "current_epoch_stats": {"inference_count": jobs},
        **more,
    }


def participants(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"participant": list(rows), "pagination": {"next_key": None, "total": "0"}, **more}


def summary(address: str, epoch: int, rewarded: Any = "1000", earned: Any = "5", **more: Any) -> dict[str, Any]:
    return {
        "epoch_index": str(epoch),
        "participant_id": address,
        "inference_count": "1",
        "earned_coins": earned,
        "rewarded_coins": rewarded,
        "burned_coins": "7",
        "claimed": True,
        **more,
    }
