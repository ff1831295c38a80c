"""Requests to Gonka nodes that both polls and settlements make, and what the source has learnt from the answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from services.ingest.block_times import BlockTimes
from services.ingest.clock import Clock
from services.ingest.http import Fetcher, Params
from services.ingest.sources import Source
from services.ingest.trackers import chain_payloads as payloads
from services.ingest.trackers.base import BaseUrls, every_failure, not_ahead
from services.ingest.trackers.chain_payloads import Standing
from services.kernel.errors import SourceError

T = TypeVar("T")

INFERENCE = "/chain-api/productscience/inference/inference"
UNKNOWN_ZERO_BLOCKS = 600
"""So long after a settlement a 0 for everybody may only mean "not counted yet"."""

_MAX_PAGES = 100


@dataclass(frozen=True, slots=True)
class Listed:
    """A Cosmos list with all its pages."""

    items: list[Any]
    finished: bool
    """Whether every page was read and no item is missing by the node's own count."""


class Chain:
    """A source's Gonka nodes: failover, the highest height seen, known block times."""

    def __init__(self, source: Source, fetcher: Fetcher, clock: Clock) -> None:
        self.source = source.name
        self.block_times = BlockTimes()
        self.urls = BaseUrls(source.urls)
        self._fetcher = fetcher
        self._clock = clock
        self._highest = 0

    async def first(self, ask: Callable[[str], Awaitable[T]]) -> T:
        """What the first base URL gives that does not fail. Raises SourceError when all fail."""
        errors: list[SourceError] = []
        for url in self.urls.in_order():
            try:
                return await ask(url)
            except SourceError as error:
                errors.append(error)
        raise every_failure(errors)

    async def get(self, url: str, path: str, params: Params | None = None, *, background: bool = False) -> object:
        """The JSON at this path. Raises SourceError."""
        return await self._fetcher.get_json(url, path, params, background=background)

    async def standing(self, url: str, *, background: bool = False) -> Standing:
        """Where the node stands. Raises SourceError for one that catches up or is behind what was seen elsewhere."""
        host = urlsplit(url).netloc
        found = payloads.standing(await self.get(url, "/chain-rpc/status", background=background))
        if found.catching_up:
            raise SourceError(f"{host}: is catching up")
        if found.height < self._highest:
            raise SourceError(f"{host}: stands at {found.height}, below {self._highest} seen before")
        not_ahead(found.time, self._clock.now(), host)
        self._highest = found.height
        self.block_times.add(found.height, found.time)
        if found.earliest is not None:
            self.block_times.add(*found.earliest)
        return found

    async def listed(self, url: str, path: str, key: str, limit: int, *, background: bool = False) -> Listed:
        """Every page of a Cosmos list. Raises SourceError when one fails."""
        items: list[Any] = []
        params: dict[str, str | int] = {"pagination.limit": limit}
        seen: set[str] = set()
        while True:
            page = payloads.page(await self.get(url, path, params, background=background), key)
            items += page.items
            if page.next_key is None:
                return Listed(items, finished=not page.total or page.total == len(items))
            if page.next_key in seen or len(seen) >= _MAX_PAGES:
                return Listed(items, finished=False)
            seen.add(page.next_key)
            params["pagination.key"] = page.next_key

    async def block_time(self, url: str, height: int, epoch: int) -> tuple[datetime, bool]:
        """When the block was made (the one at which the epoch before this one settled), and whether exactly.

        Nodes prune: every base URL is asked for the block, then the time is estimated between known neighbours.
        """
        others = [other for other in self.urls.in_order() if other != url]
        for node in (url, *others):
            known = self.block_times.exact(height)
            if known is not None:
                return known, True
            try:
                found = payloads.block(await self.get(node, "/chain-rpc/block", {"height": height}, background=True))
            except SourceError:
                continue
            if found[0] == height:
                self.block_times.add(*found)
        known = self.block_times.exact(height)
        if known is not None:
            return known, True
        try:
            neighbour = payloads.active_set(await self.get(url, f"/v1/epochs/{epoch}/participants", background=True))
            if neighbour.block is not None:
                self.block_times.add(*neighbour.block)
        except SourceError:
            pass  # then the neighbours are farther away
        estimate = self.block_times.estimate(height)
        if estimate is None:
            raise SourceError(f"block {height} is pruned and no block time around it is known")
        return estimate, False

    async def aclose(self) -> None:
        """Close every connection."""
        await self._fetcher.aclose()
