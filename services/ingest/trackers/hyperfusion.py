"""The Hyperfusion tracker (an instance of gonka-tracker)."""

from services.ingest.clock import Clock
from services.ingest.http import Fetcher
from services.ingest.sources import Source
from services.ingest.trackers.base import BaseUrls, Poll
from services.ingest.trackers.tracker_api import TrackerApi, poll_of


class Hyperfusion:
    """The adapter: one list call a poll, and one for the total of an epoch that has settled."""

    def __init__(self, source: Source, fetcher: Fetcher, clock: Clock) -> None:
        self._name = source.name
        self._fetcher = fetcher
        self._api = TrackerApi(BaseUrls(source.urls), fetcher, clock)

    async def poll(self) -> Poll:
        """The tracker's current list. Raises SourceError."""
        return await self._api.newest(self._ask)

    async def total(self, epoch: int) -> int | None:
        """The tracker's own total of the epoch's rewards, in ngonka; None when it has none. Raises SourceError."""
        return await self._api.total(epoch)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._fetcher.aclose()

    async def _ask(self, url: str) -> Poll:
        return poll_of(await self._api.current(url), self._name)
