"""Which adapter reads which kind of source."""

from services.ingest.clock import Clock
from services.ingest.http import Fetcher
from services.ingest.sources import Kind, Source
from services.ingest.trackers.base import SettlingTracker, Tracker
from services.ingest.trackers.gonka_api import GonkaApi
from services.ingest.trackers.gonkascan import Gonkascan
from services.ingest.trackers.hyperfusion import Hyperfusion
from services.ingest.trackers.json_api import JsonApi

_ADAPTERS: dict[Kind, type[Hyperfusion] | type[Gonkascan] | type[GonkaApi] | type[JsonApi]] = {
    Kind.HYPERFUSION: Hyperfusion,
    Kind.GONKASCAN: Gonkascan,
    Kind.GONKA_API: GonkaApi,
    Kind.JSON: JsonApi,
}


def tracker_for(source: Source, clock: Clock) -> Tracker:
    """The source's adapter with an HTTP client of its own; close it with `aclose`."""
    fetcher = Fetcher(
        requests_per_minute=source.requests_per_minute,
        timeout=source.timeout,
        clock=clock,
        allow_private=source.allow_private,
    )
    return _ADAPTERS[source.kind](source, fetcher, clock)


def knows_epochs(kind: Kind) -> bool:
    """Whether such a source can say what epochs paid."""
    return issubclass(_ADAPTERS[kind], SettlingTracker)
