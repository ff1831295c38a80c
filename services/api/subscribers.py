"""How many follow the live changes, and no more than may."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from prometheus_client import CollectorRegistry, Gauge


class Subscribers:
    """Counts open streams."""

    def __init__(self, most: int, registry: CollectorRegistry) -> None:
        self._most = most
        self._open = 0
        self._gauge = Gauge("minegnk_api_subscribers", "Open streams of live changes.", registry=registry)

    @property
    def full(self) -> bool:
        """Whether another one is too many."""
        return self._open >= self._most

    async def counted(self, frames: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        """The frames, counted as a subscriber from the first to the last, however they end."""
        self._count(1)
        try:
            async with aclosing(frames):
                async for frame in frames:
                    yield frame
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._open += change
        self._gauge.set(self._open)
