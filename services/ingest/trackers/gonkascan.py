"""The Gonkascan tracker: gonka-tracker's reply, and a map of where hosts are.

There is no capture of it; the shapes are those of its source (6block/gonkascan, models.py), everything optional.
"""

from typing import Any

from services.ingest.clock import Clock
from services.ingest.http import Fetcher
from services.ingest.sources import Source
from services.ingest.trackers.base import BaseUrls, Poll
from services.ingest.trackers.tracker_api import TrackerApi, poll_of
from services.ingest.trackers.wire import Payload, Text, each, read, rows, wallet
from services.kernel.errors import SourceError

MAP = "/api/v1/participants/map"
_MAP_INTERVAL_SECONDS = 3600.0
_MAP_RETRY_SECONDS = 600.0


class _Place(Payload):
    index: Text = None
    address: Text = None
    country: Text = None
    region: Text = None


class _Map(Payload):
    participants: Any = None


def regions(body: object) -> dict[str, str]:
    """Wallet address → "region, country", as far as either is given. Raises SourceError for a reply without list."""
    places, _ = each(rows(read(_Map, body, MAP).participants, MAP), _Place.model_validate)
    named = (
        (wallet(place.index, place.address), ", ".join(filter(None, (place.region, place.country)))) for place in places
    )
    return {address: name for address, name in named if address and name}


class Gonkascan:
    """The adapter: as for Hyperfusion, and the map every hour, whose absence is no error."""

    def __init__(self, source: Source, fetcher: Fetcher, clock: Clock) -> None:
        self._name = source.name
        self._fetcher = fetcher
        self._clock = clock
        self._api = TrackerApi(BaseUrls(source.urls), fetcher, clock)
        self._regions: dict[str, str] = {}
        self._map_due = clock.monotonic()

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
        body = await self._api.current(url)
        if self._clock.monotonic() >= self._map_due:
            self._map_due = self._clock.monotonic() + _MAP_INTERVAL_SECONDS
            try:
                self._regions = regions(await self._fetcher.get_json(url, MAP))
            except SourceError:
                self._map_due = self._clock.monotonic() + _MAP_RETRY_SECONDS
        return poll_of(body, self._name, self._regions)
