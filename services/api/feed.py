"""The feed: looks at the tables every second, and keeps the last ticks for whoever follows.

Subscribers hold nothing but their place in it, so that a thousand of them cost no more memory than one, and a slow one
none at all: who has fallen behind what is kept is told to read everything anew.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Final, NamedTuple
from uuid import uuid4

import structlog
from mode import Service

from services.api.changes import NodeRow, Snapshot, Tick
from services.api.store.changes import Look

LOOK_SECONDS: Final = 1.0
_LOOKS_UNTIL_OLD: Final = 3
_LOOKS_BETWEEN_WHOLE_ONES: Final = 600
_KEPT_TICKS: Final = 1000
_KEPT_NODES: Final = 200_000

_log = structlog.get_logger(__name__)

LookAt = Callable[[str | None], Awaitable[Look]]


class Place(NamedTuple):
    """How far a subscriber has read: the number of the last tick, in this process's counting."""

    number: int


class Feed(Service):
    """Ticks with consecutive numbers, the newest at the end."""

    mundane_level = "debug"

    def __init__(self, look: LookAt, *, every: float = LOOK_SECONDS) -> None:
        super().__init__()
        self._look = look
        self._every = every
        self._snapshot = Snapshot()
        self._ticks: deque[Tick] = deque()
        self._kept_nodes = 0
        self._first = 1  # the number of the oldest kept tick
        self._name = uuid4().hex[:8]  # numbers of another process mean nothing here
        self._news = asyncio.Event()
        self._looked: tuple[float, datetime] | None = None  # when the last look began: this clock's and the database's
        self.ended = asyncio.Event()
        self.ready = False
        """Whether the tables have been read once."""

    @Service.task
    async def _follow(self) -> None:
        since: str | None = None
        looks = 0
        while not self.should_stop:
            began = monotonic()
            try:
                # Now and then all rows, so that what is deleted is forgotten.
                found = await self._look(None if looks % _LOOKS_BETWEEN_WHOLE_ONES == 0 else since)
            except Exception as error:  # the database is away, or slow: what was missed comes with the next look
                _log.warning("look_failed", error=repr(error))
                await self.sleep(max(self._every, 1.0))
                continue
            if looks % _LOOKS_BETWEEN_WHOLE_ONES == 0:
                self._forget_deleted(found)
            looks, since = looks + 1, found.since
            self.add(self._snapshot.note(found.nodes, found.settlements, found.sources))
            self._looked = began, found.at
            await self.sleep(self._every)

    def _forget_deleted(self, found: Look) -> None:
        there = {row.identifier for row in found.nodes}
        for identifier in self._snapshot.nodes.keys() - there:
            del self._snapshot.nodes[identifier]

    def add(self, tick: Tick) -> None:
        """Tell subscribers. The first look is no change: it only says how things are."""
        if not self.ready:
            self.ready = True
        elif tick.events or tick.nodes:
            self._ticks.append(tick)
            self._kept_nodes += len(tick.nodes)
            while len(self._ticks) > _KEPT_TICKS or (self._kept_nodes > _KEPT_NODES and len(self._ticks) > 1):
                self._kept_nodes -= len(self._ticks.popleft().nodes)
                self._first += 1
        else:
            return
        self._news.set()
        self._news = asyncio.Event()

    @property
    def newest(self) -> Place:
        """Where a new subscriber begins."""
        return Place(self._first + len(self._ticks) - 1)

    def read(self, place: Place) -> Sequence[Tick] | None:
        """What came after the place; None where that is no longer kept."""
        behind = self.newest.number - place.number
        if behind <= 0:
            return ()
        if place.number < self._first - 1:
            return None
        return [self._ticks[at] for at in range(len(self._ticks) - behind, len(self._ticks))]

    def now(self) -> datetime | None:
        """The database's time; None where the last look is too long ago to go by it."""
        if self._looked is None:
            return None
        ago = monotonic() - self._looked[0]
        return None if ago > _LOOKS_UNTIL_OLD * self._every else self._looked[1] + timedelta(seconds=ago)

    def row(self, identifier: str) -> NodeRow | None:
        """The node's row, as it was at the last look."""
        return self._snapshot.nodes.get(identifier)

    async def news(self, seconds: float) -> bool:
        """Wait for the next tick or the end; False when neither came in time."""
        if self.ended.is_set():
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def end(self) -> None:
        """Let every subscriber go: the process stops."""
        self.ended.set()
        self._news.set()

    def text_of(self, place: Place) -> str:
        """The place as an id that a subscriber gives back."""
        return f"{self._name}-{place.number}"

    def place_of(self, text: str) -> Place | None:
        """The place that this id names; None where it is of another process, or nothing."""
        name, _, number = text.rpartition("-")
        if name != self._name or not number.isascii() or not number.isdigit() or len(number) > 18:
            return None
        return Place(min(int(number), self.newest.number))
