"""Who polls what: a source belongs to the instance that holds its partition of node.refresh.v1."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from services.ingest.sources import Source
from services.kernel.events import RefreshRequest
from services.kernel.topics import refresh_partition


def owned(sources: Iterable[Source], partitions: Collection[int], total: int) -> tuple[Source, ...]:
    """The sources that belong to whoever holds these partitions."""
    if not partitions:
        return ()
    return tuple(source for source in sources if refresh_partition(source.name, total) in partitions)


class RunsAndListens(Protocol):
    """What Duty needs of a Poller."""

    async def run(self) -> None:
        """Poll until cancelled."""
        ...

    def request(self, request: RefreshRequest) -> bool:
        """Do as asked, soon; False when there is no need or no way."""
        ...


class Duty:
    """Starts and stops pollers as partitions come and go. Keep `run` running: it raises what ends a poller."""

    def __init__(self, sources: Sequence[Source], make_poller: Callable[[Source], RunsAndListens]) -> None:
        self._sources = tuple(sources)
        self._make_poller = make_poller
        self._pollers: dict[str, tuple[RunsAndListens, asyncio.Task[None]]] = {}
        self._changing = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def polled(self) -> frozenset[str]:
        """The names of the sources polled here."""
        return frozenset(self._pollers)

    async def assign(self, partitions: Collection[int], total: int) -> None:
        """These are now our partitions of `total`: start what is new, stop and forget what is gone. Repeatable."""
        async with self._changing:
            wanted = {source.name: source for source in owned(self._sources, partitions, total)}
            gone = [self._pollers.pop(name)[1] for name in self._pollers.keys() - wanted.keys()]
            for task in gone:
                task.cancel()
            await asyncio.gather(*gone, return_exceptions=True)
            for name in wanted.keys() - self._pollers.keys():
                poller = self._make_poller(wanted[name])
                self._pollers[name] = (poller, asyncio.create_task(poller.run(), name=f"poll {name}"))
            self._changed.set()

    def request(self, request: RefreshRequest) -> bool:
        """Hand the request to its source's poller. False when that is not here, or there is no need."""
        held = self._pollers.get(request.source)
        return held is not None and held[0].request(request)

    async def run(self) -> None:
        """Wait until a poller ends, and raise why. However this ends, every poller is stopped."""
        try:
            while True:
                self._changed.clear()
                change = asyncio.create_task(self._changed.wait())
                try:
                    await asyncio.wait(
                        {change, *(task for _, task in self._pollers.values())}, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    change.cancel()
                for name, (_, task) in self._pollers.items():
                    if task.done():
                        await task
                        raise RuntimeError(f"the poller of {name} ended")
        finally:
            await self.assign((), 1)
