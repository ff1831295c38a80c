"""Live changes as server-sent events."""

from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from services.api.changes import Event, Tick, reading
from services.api.context import Reader, UsedApi
from services.api.feed import Feed, Place
from services.api.problems import ProblemError
from services.api.schemas import TEXT

HEARTBEAT_SECONDS: Final = 15.0
_RETRY_MILLISECONDS: Final = 3000
_RESET: Final = Event("reset", {"reason": "what came in between is not kept"})

router = APIRouter(tags=["live"])


@router.get(
    "/events",
    response_class=Response,
    responses={
        200: {"description": "Server-sent events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    },
)
async def follow(
    api: UsedApi,
    _: Reader,
    node: Annotated[
        str | None, Query(min_length=1, max_length=255, pattern=TEXT, description="Every reading of this node, too.")
    ] = None,
    last_event_id: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Changes as they are seen: `status`, `readings`, `earnings`, `settlement`, `source`; with `node` also `reading`.

    Whoever comes back with `Last-Event-ID` gets what was missed, or a `reset` where that is no longer kept: then read
    everything anew. A comment comes every 15 s when nothing else does.
    """
    if api.subscribers.full:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "too_many_subscribers",
            "There are as many open streams as this server takes: try again later.",
            headers={"Retry-After": "30"},
        )
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    frames = _frames(api.feed, node, last_event_id)
    return StreamingResponse(api.subscribers.counted(frames), 200, headers, "text/event-stream")


async def _frames(feed: Feed, node: str | None, last_event_id: str | None) -> AsyncGenerator[bytes, None]:
    """The stream's bytes, until the process stops or the subscriber leaves."""
    place = feed.newest if last_event_id is None else feed.place_of(last_event_id)
    yield f"retry: {_RETRY_MILLISECONDS}\n\n".encode() + (_id(feed, place) if place is not None else b"")
    while True:
        ticks = None if place is None else feed.read(place)
        place = feed.newest
        if ticks is None:
            yield _RESET.frame() + _id(feed, place)
        elif ticks:
            yield b"".join(_of_tick(feed, tick, node) for tick in ticks) + _id(feed, place)
        if feed.ended.is_set():
            return
        # Something may have come while the subscriber took its time.
        if feed.newest == place and not await feed.news(HEARTBEAT_SECONDS):
            yield b": still here\n\n"


def _of_tick(feed: Feed, tick: Tick, node: str | None) -> bytes:
    if node is not None and node in tick.nodes and (row := feed.row(node)) is not None:
        return tick.frames + reading(row).frame()
    return tick.frames


def _id(feed: Feed, place: Place) -> bytes:
    """Where the subscriber is now. It comes last: whoever is cut off before it gets everything again."""
    return f"id: {feed.text_of(place)}\n\n".encode()
