"""What need not be read again: shared answers for a moment, and nodes for as long as their row stays as it is."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """One answer for everybody who asks within some seconds; whoever comes while it is fetched waits for the same."""

    def __init__(
        self, fetch: Callable[[], Awaitable[T]], seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._seconds = seconds
        self._clock = clock
        self._held: tuple[float, T] | None = None
        self._fetching = asyncio.Lock()

    async def get(self) -> T:
        """The answer, at most so many seconds old. Raises what fetching it raises."""
        if (held := self._fresh()) is not None:
            return held[1]
        async with self._fetching:
            if (held := self._fresh()) is not None:
                return held[1]
            began = self._clock()
            answer = await self._fetch()
            self._held = began, answer
            return answer

    def _fresh(self) -> tuple[float, T] | None:
        if self._held is not None and self._clock() - self._held[0] < self._seconds:
            return self._held
        return None


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
