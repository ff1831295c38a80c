"""GET of JSON: budgets, Retry-After, limits, redirects, and failures as short reasons."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from services.ingest.http import Fetcher, NotFoundError, TokenBucket
from services.kernel.errors import SourceError
from tests.captured import Reply, Serving, serving
from tests.unit.ingest_fakes import ManualClock, a_fetcher


@asynccontextmanager
async def fetching(
    replies: dict[str, Reply], clock: ManualClock, **more: Any
) -> AsyncIterator[tuple[Serving, Fetcher]]:
    fetcher = a_fetcher(clock, **more)
    async with serving(replies) as server:
        try:
            yield server, fetcher
        finally:
            await fetcher.aclose()


def refusing(status: int, **headers: str) -> Reply:
    return lambda _: web.Response(
        status=status, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )


async def test_json_is_read_with_exact_fractions() -> None:
    async with fetching({"/a": b'{"x": 0.1, "y": 2}'}, ManualClock()) as (server, fetcher):
        assert await fetcher.get_json(server.url, "/a") == {"x": Decimal("0.1"), "y": 2}


async def test_a_host_gets_no_more_requests_than_its_budget() -> None:
    clock = ManualClock(hurry=True)
    async with fetching({"/a": b"1"}, clock, requests_per_minute=3) as (server, fetcher):
        for _ in range(6):
            await fetcher.get_json(server.url, "/a")
    assert clock.monotonic() == pytest.approx(60)


async def test_hosts_have_budgets_of_their_own() -> None:
    clock = ManualClock(hurry=True)
    async with (
        fetching({"/a": b"1"}, clock, requests_per_minute=1) as (server, fetcher),
        serving({"/a": b"1"}) as other,
    ):
        await fetcher.get_json(server.url, "/a")
        await fetcher.get_json(other.url, "/a")
    assert clock.slept == []


@pytest.mark.parametrize(("per_minute", "at_once"), [(10, 5), (1, 1)])
async def test_background_work_leaves_half_of_the_budget_to_polls(per_minute: int, at_once: int) -> None:
    clock = ManualClock(hurry=True)
    bucket = TokenBucket(per_minute, clock)
    for _ in range(at_once):
        await bucket.take(background=True)
    assert clock.slept == []
    await bucket.take(background=True)
    assert clock.monotonic() == pytest.approx(60 / per_minute)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("value", ["30", "Thu, 01 Jan 2026 00:00:30 GMT"])
async def test_a_host_that_asks_to_wait_is_left_alone_so_long(status: int, value: str) -> None:
    clock = ManualClock()
    async with fetching({"/a": refusing(status, retry_after=value), "/b": b"1"}, clock) as (server, fetcher):
        with pytest.raises(SourceError, match=f"127.0.0.1/a: HTTP {status}"):
            await fetcher.get_json(server.url, "/a")
        await clock.advance(29)
        with pytest.raises(SourceError, match="asked us to wait, 1 s are left"):
            await fetcher.get_json(server.url, "/b")
        assert server.requests == ["/a"]
        await clock.advance(2)
        assert await fetcher.get_json(server.url, "/b") == 1


async def test_too_many_requests_without_a_time_is_a_pause_of_twenty_seconds() -> None:
    clock = ManualClock()
    async with fetching({"/a": refusing(429)}, clock) as (server, fetcher):
        with pytest.raises(SourceError, match="HTTP 429"):
            await fetcher.get_json(server.url, "/a")
        with pytest.raises(SourceError, match="20 s are left"):
            await fetcher.get_json(server.url, "/a")


async def test_an_absurd_retry_after_is_an_hour_at_most() -> None:
    clock = ManualClock()
    async with fetching({"/a": refusing(429, retry_after="999999999")}, clock) as (server, fetcher):
        with pytest.raises(SourceError, match="HTTP 429"):
            await fetcher.get_json(server.url, "/a")
        with pytest.raises(SourceError, match="3600 s are left"):
            await fetcher.get_json(server.url, "/a")


async def test_a_retry_after_that_nobody_understands_holds_nothing() -> None:
    clock = ManualClock()
    async with fetching({"/a": refusing(503, retry_after="soon"), "/b": b"1"}, clock) as (server, fetcher):
        with pytest.raises(SourceError, match="HTTP 503"):
            await fetcher.get_json(server.url, "/a")
        assert await fetcher.get_json(server.url, "/b") == 1


@pytest.mark.parametrize("status", [404, 501])
async def test_what_a_host_does_not_have_is_told_apart(status: int) -> None:
    async with fetching({"/a": refusing(status)}, ManualClock()) as (server, fetcher):
        with pytest.raises(NotFoundError):
            await fetcher.get_json(server.url, "/a")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty reply"),
        (b'{"x": [1, 2', "not JSON, or was cut short"),
        (b"<html>", "not JSON"),
        (b'{"x": NaN}', "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"1" * 5000, "not JSON"),
    ],
)
async def test_a_body_that_is_not_json_is_an_error_of_the_source(body: bytes, said: str) -> None:
    async with fetching({"/a": body}, ManualClock()) as (server, fetcher):
        with pytest.raises(SourceError, match=said):
            await fetcher.get_json(server.url, "/a")


async def test_a_reply_beyond_the_limit_is_given_up_while_it_streams() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    async with fetching({"/a": endless}, ManualClock(), body_limit=200_000) as (server, fetcher):
        with pytest.raises(SourceError, match="larger than 200000 bytes"):
            await fetcher.get_json(server.url, "/a")


async def test_the_limit_counts_what_a_compressed_reply_unpacks_to() -> None:
    packed = gzip.compress(b" " * 10**6 + b"1")
    reply = web.Response(body=packed, headers={"Content-Encoding": "gzip"})
    async with fetching({"/a": lambda _: reply}, ManualClock(), body_limit=200_000) as (server, fetcher):
        with pytest.raises(SourceError, match="larger than"):
            await fetcher.get_json(server.url, "/a")


async def test_a_host_that_does_not_answer_times_out() -> None:
    async def never(_: web.Request) -> None:
        await asyncio.Event().wait()

    limit = timedelta(seconds=0.1)
    async with fetching({"/a": never}, ManualClock(), timeout=limit) as (server, fetcher):
        with pytest.raises(SourceError, match=r"timed out after 0\.1 s"):
            await fetcher.get_json(server.url, "/a")


async def test_a_host_that_is_not_there_cannot_be_reached() -> None:
    fetcher = a_fetcher(ManualClock())
    with pytest.raises(SourceError, match="cannot connect"):
        await fetcher.get_json("http://127.0.0.1:9", "/a")
    await fetcher.aclose()


async def test_a_redirect_on_the_same_host_is_followed() -> None:
    replies: dict[str, Reply] = {"/a": refusing(302, location="/b"), "/b": b"1"}
    async with fetching(replies, ManualClock()) as (server, fetcher):
        assert await fetcher.get_json(server.url, "/a") == 1


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/", "http://127.0.0.1:1/b", "https://127.0.0.1/b", "file:///etc/passwd"]
)
async def test_a_redirect_to_another_host_is_refused(location: str) -> None:
    async with fetching({"/a": refusing(302, location=location)}, ManualClock()) as (server, fetcher):
        with pytest.raises(SourceError, match="redirects to another host"):
            await fetcher.get_json(server.url, "/a")


async def test_a_redirect_to_another_host_on_the_same_port_is_refused() -> None:
    async with fetching({"/b": b"1"}, ManualClock()) as (server, fetcher):
        elsewhere = server.url.replace("127.0.0.1", "localhost")
        server.replies["/a"] = refusing(302, location=f"{elsewhere}/b")
        with pytest.raises(SourceError, match="redirects to another host"):
            await fetcher.get_json(server.url, "/a")
    assert server.requests == ["/a"]


async def test_redirects_in_a_circle_end() -> None:
    async with fetching({"/a": refusing(302, location="/a")}, ManualClock()) as (server, fetcher):
        with pytest.raises(SourceError, match="too many redirects"):
            await fetcher.get_json(server.url, "/a")


async def test_a_reason_tells_neither_query_nor_the_base_urls_path() -> None:
    async with fetching({}, ManualClock()) as (server, fetcher):
        with pytest.raises(SourceError) as caught:
            await fetcher.get_json(f"{server.url}/token-123", "/a", {"key": "hidden"})
    assert str(caught.value) == "127.0.0.1/a: HTTP 404"
