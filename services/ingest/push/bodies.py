"""From a request's body to the records it stands for, within limits."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec
from aiohttp import web

from services.ingest.push.problems import ProblemError
from services.kernel.settings import PushSettings
from services.kernel.wire import Headers

JSON: Final = "application/json"
NDJSON: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
CLOUDEVENT: Final = "application/cloudevents+json"
CLOUDEVENTS: Final = "application/cloudevents-batch+json"

_CHUNK: Final = 65_536
_RETRY_SECONDS: Final = 1
_STRUCTURED: Final[Headers] = [("content-type", CLOUDEVENT.encode())]
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Item(NamedTuple):
    """One event as it was sent: a record's value and headers."""

    value: bytes
    headers: Headers


class Room:
    """Memory for bodies under way. What does not fit is asked to come again, rather than held."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.taken = 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """A function that takes bytes of it, given back at the block's end. It raises ProblemError (503) when full."""
        mine = 0

        def take(size: int) -> None:
            nonlocal mine
            if self.taken + size > self._size:
                raise ProblemError(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "busy",
                    "Too much is under way: send this again after a moment.",
                    retry_after=_RETRY_SECONDS,
                )
            mine += size
            self.taken += size

        try:
            yield take
        finally:
            self.taken -= mine


async def read_body(request: web.Request, settings: PushSettings, take: Callable[[int], None]) -> bytes:
    """The body, decompressed. Raises ProblemError for what is too large, too slow, or not what it says it is."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", "Content-Encoding may be gzip or left out."
        )
    if encoding == "identity" and (request.content_length or 0) > settings.body_limit:
        raise _too_large(settings)
    body = bytearray()
    try:
        async with asyncio.timeout(settings.timeout.total_seconds()):
            async for chunk in (
                _plain(request, settings.body_limit)
                if encoding == "identity"
                else _gunzipped(request, settings.body_limit)
            ):
                if len(body) + len(chunk) > settings.body_limit:
                    raise _too_large(settings)
                take(len(chunk))
                body += chunk
    except TimeoutError:
        raise ProblemError(
            HTTPStatus.REQUEST_TIMEOUT,
            "too_slow",
            f"The body did not come within {settings.timeout.total_seconds():g} s.",
        ) from None
    return bytes(body)


async def _plain(request: web.Request, _: int) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_chunked(_CHUNK):
        yield chunk


async def _gunzipped(request: web.Request, limit: int) -> AsyncIterator[bytes]:
    """The plain bytes, a bounded piece at a time however well they were compressed."""
    stream = zlib.decompressobj(wbits=31)
    try:
        async for chunk in request.content.iter_chunked(_CHUNK):
            if stream.eof:
                raise zlib.error("more follows the end")
            rest = chunk
            while rest and not stream.eof:
                yield stream.decompress(rest, _CHUNK)
                rest = stream.unconsumed_tail
            if stream.unused_data:
                raise zlib.error("more follows the end")
    except zlib.error as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "undecodable", f"The body is not valid gzip: {error}.") from None
    if not stream.eof:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "undecodable", "The body is not valid gzip: it ends early.")


def _too_large(settings: PushSettings) -> ProblemError:
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too_large",
        f"A body has at most {settings.body_limit} bytes, decompressed: send less at a time.",
    )


def items_of(request: web.Request, body: bytes, item_limit: int) -> Sequence[Item]:
    """The events that a body holds, by its Content-Type. Raises ProblemError when it cannot be taken apart."""
    media = request.content_type
    if not body.strip():
        raise ProblemError(HTTPStatus.BAD_REQUEST, "empty", "The body holds no event.")
    if media == CLOUDEVENT:
        items = [Item(body, _STRUCTURED)]
    elif media == CLOUDEVENTS:
        items = [Item(bytes(each), _STRUCTURED) for each in _array(body)]
    elif media in NDJSON:
        items = [Item(line, ()) for line in body.splitlines() if line.strip()]
    elif media != JSON:
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            f"Content-Type is {JSON} (an event or an array of them), {NDJSON[0]} (one a line), {CLOUDEVENT} or "
            f"{CLOUDEVENTS}.",
        )
    elif "ce-specversion" in request.headers:  # CloudEvents in binary mode
        items = [Item(body, _context_attributes(request))]
    elif body.lstrip()[:1] == b"[":
        items = [Item(bytes(each), ()) for each in _array(body)]
    else:
        items = [Item(body, ())]
    if not items:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "empty", "The body holds no event.")
    if len(items) > item_limit:
        raise ProblemError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_many_items",
            f"{len(items)} events in a request, {item_limit} at most: send fewer at a time.",
        )
    return items


def _context_attributes(request: web.Request) -> Headers:
    """The attributes of a CloudEvent in binary mode, as Kafka's binding of CloudEvents names them."""
    return [
        (f"ce_{name[3:].lower()}", value.encode("utf-8", "surrogateescape"))
        for name, value in request.headers.items()
        if name.lower().startswith("ce-")
    ]


def _array(body: bytes) -> list[msgspec.Raw]:
    try:
        return _split(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(
            HTTPStatus.BAD_REQUEST, "undecodable", f"The body is not a JSON array: {str(error)[:200]}."
        ) from None
