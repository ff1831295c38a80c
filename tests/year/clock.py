"""Virtual time for real input and output: it stands still while requests and publications are under way."""

import asyncio
import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from itertools import count

_QUIET_PASSES = 50

_working: ContextVar[bool] = ContextVar("working", default=False)


class YearClock:
    """The clock of the simulated network and of ingest. `until` lets it jump from one sleeper to the next.

    What runs inside `working` holds the time, but for its own sleeps: waiting for a rate budget takes virtual time.
    """

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._now = start
        self._working = 0
        self._order = count()
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start).total_seconds()

    async def sleep(self, seconds: float) -> None:
        done = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + timedelta(seconds=seconds), next(self._order), done))
        holds = _working.get()
        self._working -= holds
        try:
            await done
        finally:
            self._working += holds

    @contextmanager
    def working(self) -> Iterator[None]:
        """Real work: time stands still meanwhile."""
        token = _working.set(True)
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            _working.reset(token)

    async def until(self, moment: datetime) -> None:
        """Let time pass up to the moment, each sleeper waking in its turn, and wait for what that sets going."""
        while True:
            await self._quiet()
            while self._sleepers and self._sleepers[0][2].done():
                heapq.heappop(self._sleepers)
            if not self._sleepers or self._sleepers[0][0] > moment:
                self._now = max(self._now, moment)
                return
            due, _, done = heapq.heappop(self._sleepers)
            self._now = max(self._now, due)
            done.set_result(None)

    async def _quiet(self) -> None:
        """Return when nobody works, and nobody who was woken is about to."""
        passes = 0
        while passes < _QUIET_PASSES:
            if self._working:
                await asyncio.sleep(0.001)
                passes = 0
            else:
                await asyncio.sleep(0)
                passes += 1
