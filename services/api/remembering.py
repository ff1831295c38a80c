"""What need not be read again: shared answers for a moment, and nodes for as long as their row stays as it is."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """One answer for everybody who asks within some seconds.

    Whoever comes soon after them gets it too, while a newer one is fetched; later ones wait, all for the same.
    """

    SOON: Final = 5
    """So many times the seconds."""

    def __init__(
        self, fetch: Callable[[], Awaitable[T]], seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._seconds = seconds
        self._clock = clock
        self._held: tuple[float, T] | None = None
        self._fetching: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The answer. Raises what fetching it raises."""
        if self._held is not None:
            age = self._clock() - self._held[0]
            if age < self._seconds:
                return self._held[1]
            if age < self._seconds * self.SOON:
                self._begin()
                return self._held[1]
        return await asyncio.shield(self._begin())

    def _begin(self) -> "asyncio.Task[T]":
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetched())
            self._fetching.add_done_callback(self._ended)
        return self._fetching

    async def _fetched(self) -> T:
        began = self._clock()
        answer = await self._fetch()
        self._held = began, answer
        return answer

    def _ended(self, task: "asyncio.Task[T]") -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # whoever waits is told; where nobody does, the next one tries again


class Versioned(Generic[T]):
    """Values by key, each good for one version of what it was made from and some seconds; the least used ones go."""

    MOST: Final = 10_000

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._entries: OrderedDict[str, tuple[Hashable, float, T]] = OrderedDict()

    def get(self, key: str, version: Hashable) -> T | None:
        """The value that was made from this version, if it is not too old."""
        entry = self._entries.get(key)
        if entry is None or entry[0] != version or self._clock() >= entry[1]:
            return None
        self._entries.move_to_end(key)
        return entry[2]

    def put(self, key: str, version: Hashable, value: T) -> None:
        """Keep it."""
        self._entries[key] = version, self._clock() + self._seconds, value
        self._entries.move_to_end(key)
        if len(self._entries) > self.MOST:
            self._entries.popitem(last=False)
