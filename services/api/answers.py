"""Answers: JSON with a tag by which a client need not fetch it twice, or CSV, row by row."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from datetime import timedelta
from hashlib import blake2b
from io import BytesIO
from typing import Any, NamedTuple

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from services.kernel.columns import Column, CsvWriter


class Written(NamedTuple):
    """An answer, and what tells its content from others: a hash that leaves out what changes as time passes."""

    json: bytes
    tag: str


_AGING = re.compile(rb'"(?:age_seconds|data_age_seconds|as_of)":[^,}]+')
_VARY = "Accept, Authorization"
_FRESH_SECONDS = 10


def json_answer(request: Request, answer: BaseModel, *, fresh_for: timedelta, private: bool) -> Response:
    """The model as JSON, or 304 where the client has it.

    The tag is a weak one: it leaves out ages and the time of reading, which change while nothing else does.
    `fresh_for` is how long its data stays within the time to live: so long it may be shown while a newer answer is
    fetched, and for 10 s at most without asking.
    """
    return tagged_answer(request, written(answer), fresh_for=fresh_for, private=private)


def written(answer: BaseModel) -> Written:
    """The model as JSON."""
    body = answer.__pydantic_serializer__.to_json(answer)
    return Written(body, digest(_AGING.sub(b"", body)))


def digest(content: bytes) -> str:
    """What tells a content from others."""
    return blake2b(content, digest_size=12).hexdigest()


def tagged_answer(request: Request, answer: Written, *, fresh_for: timedelta, private: bool) -> Response:
    """The JSON under its tag, or 304 where the client has it."""
    etag = f'W/"{answer.tag}"'
    fresh = max(0, int(fresh_for.total_seconds()))
    headers = {
        "ETag": etag,
        "Cache-Control": f"{'private' if private else 'public'}, max-age={min(fresh, _FRESH_SECONDS)}, "
        f"stale-while-revalidate={fresh}",
        "Vary": _VARY,
    }
    if _has(request.headers.get("if-none-match"), etag):
        return Response(None, 304, headers)
    return Response(answer.json, 200, headers, "application/json")


def _has(sent: str | None, tag: str) -> bool:
    return sent is not None and (sent.strip() == "*" or tag in (each.strip() for each in sent.split(",")))


def wants_csv(request: Request, wanted: str | None) -> bool:
    """Whether CSV is asked for: by `format`, or else by Accept naming it before JSON or anything."""
    if wanted is not None:
        return wanted == "csv"
    for part in request.headers.get("accept", "").split(","):
        media = part.split(";")[0].strip().lower()
        if media in ("text/csv", "application/json", "*/*", "application/*"):
            return media == "text/csv"
    return False


async def csv_answer(name: str, columns: Sequence[Column], chunks: AsyncIterator[Iterable[Iterable[Any]]]) -> Response:
    """The rows as a file `name`.csv, sent while they are read. Raises what reading the first ones raises."""
    pieces = _csv(columns, chunks)
    first = await anext(pieces)
    headers = {
        "Content-Disposition": f'attachment; filename="{re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:80]}.csv"',
        "Cache-Control": "no-store",
        "Vary": _VARY,
    }
    return StreamingResponse(_from(first, pieces), 200, headers, "text/csv; charset=utf-8")


async def _from(first: bytes, others: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with aclosing(others):
        yield first
        async for piece in others:
            yield piece


async def _csv(
    columns: Sequence[Column], chunks: AsyncIterator[Iterable[Iterable[Any]]]
) -> AsyncGenerator[bytes, None]:
    out = BytesIO()
    writer = CsvWriter(out, columns)
    async for rows in chunks:
        writer.write(rows)
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    if out.tell():
        yield out.getvalue()
