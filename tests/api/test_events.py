"""Live changes: what is told, that nothing is lost or told twice, and a thousand who listen."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from services.api.changes import Event, Tick
from services.api.feed import Feed
from services.api.routes import live
from services.api.store.changes import Look
from tests.api.rows import Rows, ago
from tests.api.server import RunningApi, problem_of, running
from tests.integration.pipeline import Pipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NODE, OTHER = "gonka1followed", "gonka1other"
SECONDS = 20


@pytest.fixture(scope="module", autouse=True)
def nodes(rows: Rows) -> None:
    rows.node(NODE, source="gonka_api", status="healthy", age=60)
    rows.node(OTHER, source="gonka_api", status="healthy", age=60)
    rows.source("gonka_api", last_attempt_at=ago(), last_success_at=ago(), data_at=ago(), poll_interval_seconds=600)


@dataclass
class Stream:
    """A subscriber: reads events as a browser does, and remembers the last id."""

    lines: AsyncIterator[str]
    last_id: str | None = None
    seen: list[tuple[str, Any]] = field(default_factory=list)

    async def next(self, name: str) -> Any:
        """The data of the next event of this name."""
        async with asyncio.timeout(SECONDS):
            kind = None
            async for line in self.lines:
                word, _, text = line.partition(": ")
                if word == "id":
                    self.last_id = text
                elif word == "event":
                    kind = text
                elif word == "data":
                    data = json.loads(text)
                    assert kind is not None
                    self.seen.append((kind, data))
                    if kind == name:
                        return data
        raise AssertionError(f"the stream ended before {name}")

    async def place(self) -> str:
        """The id that comes next."""
        async with asyncio.timeout(SECONDS):
            async for line in self.lines:
                if line.startswith("id: "):
                    self.last_id = line.removeprefix("id: ")
                    return self.last_id
        raise AssertionError("the stream ended")


@asynccontextmanager
async def follow(api: RunningApi, *, last_id: str | None = None, **parameters: str) -> AsyncIterator[Stream]:
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("GET", f"{api.url}/events", params=parameters, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        yield Stream(response.aiter_lines())


async def test_each_kind_of_change_is_told(api: RunningApi, rows: Rows) -> None:
    async with follow(api, node=NODE) as stream:
        await stream.place()
        rows.update(NODE, status="jailed", fetched_at=ago(seconds=1), earnings_total="7.00000001")
        assert await stream.next("status") == {
            "identifier": NODE,
            "from": "healthy",
            "to": "jailed",
            "at": stream.seen[-1][1]["at"],
            "source": "gonka_api",
        }
        readings = await stream.next("readings")
        assert (readings["changed"], readings["sources"]) == (1, {"gonka_api": 1})
        assert await stream.next("earnings") == {"nodes": 1}
        reading = await stream.next("reading")
        assert (reading["identifier"], reading["status"]) == (NODE, "jailed")
        assert reading["earnings_total_gnk"] == "7.00000001"

        rows.settlement(500, ago(minutes=1))
        settled = await stream.next("settlement")
        assert (settled["epoch"], settled["exact"], settled["restated"]) == (500, True, False)
        rows.connection.execute("UPDATE epoch_settlement SET settled_at = now() WHERE epoch = 500")
        assert (await stream.next("settlement"))["restated"] is True

        rows.connection.execute("UPDATE tracker_sources SET last_error_at = now(), last_error = 'HTTP 502'")
        outage = await stream.next("source")
        assert (outage["from"], outage["to"], outage["error"]) == ("ok", "failing", "HTTP 502")
        rows.connection.execute("UPDATE tracker_sources SET last_success_at = now() + interval '1 second'")
        assert (await stream.next("source"))["to"] == "ok"


async def test_another_node_s_reading_is_not_told(api: RunningApi, rows: Rows) -> None:
    async with follow(api, node=NODE) as one, follow(api) as everybody:
        await one.place()
        await everybody.place()
        rows.update(OTHER, status="offline", fetched_at=ago())
        for stream in (one, everybody):
            assert (await stream.next("status"))["identifier"] == OTHER
        rows.update(NODE, fetched_at=ago())
        await one.next("reading")
        assert [data["identifier"] for kind, data in one.seen if kind == "reading"] == [NODE]
        await everybody.next("readings")
        assert "reading" not in [kind for kind, _ in everybody.seen]


async def test_who_comes_back_gets_what_was_missed_once_and_in_order(api: RunningApi, rows: Rows) -> None:
    told = ["unhealthy", "offline", "jailed", "healthy"]
    rows.update(OTHER, status="healthy")
    async with follow(api) as stream:
        places = [await stream.place()]
        for status in told:
            rows.update(OTHER, status=status)
            while (await stream.next("status"))["to"] != status:
                pass  # what an earlier test wrote may come first
            places.append(await stream.place())
    for number, place in enumerate(places[1:], 1):
        async with follow(api, last_id=place) as stream:
            live_change = "offline" if number % 2 else "healthy"
            rows.update(OTHER, status=live_change)
            expected = [*told[number:], live_change]
            assert [(await stream.next("status"))["to"] for _ in expected] == expected
            told.append(live_change)


@pytest.mark.parametrize("last_id", ["another-5", "", "x", "5", "-", "deadbeef-99999999999999999999999"])
async def test_who_comes_from_elsewhere_is_told_to_read_everything_anew(api: RunningApi, last_id: str) -> None:
    async with follow(api, last_id=last_id) as stream:
        assert "reason" in await stream.next("reset")
        assert await stream.place()


def test_an_id_that_is_too_long_is_refused(api: RunningApi) -> None:
    assert api.problem("/events", headers={"Last-Event-ID": "a" * 201})["status"] == 422


async def _nothing(_: str | None) -> Look:
    raise AssertionError("not looked at")


def _feed(ticks: Iterable[int] = ()) -> Feed:
    feed = Feed(_nothing)
    feed.add(Tick())  # the first look
    for number in ticks:
        feed.add(Tick((Event("earnings", {"nodes": number}),)))
    return feed


async def test_a_slow_subscriber_costs_nothing_and_is_told_what_to_do() -> None:
    feed = _feed()
    async with aclosing(live._frames(feed, None, None)) as frames:
        assert b"retry: 3000" in await anext(frames)
        for number in range(1500):
            feed.add(Tick((Event("earnings", {"nodes": number}),)))
        late = await anext(frames)
        assert late.startswith(b"event: reset")
        assert late.endswith(f"id: {feed.text_of(feed.newest)}\n\n".encode())
        feed.add(Tick((Event("earnings", {"nodes": 9999}),)))
        assert b'{"nodes":9999}' in await anext(frames)


async def test_a_stream_without_news_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_SECONDS", 0.01)
    async with aclosing(live._frames(_feed(), None, None)) as frames:
        await anext(frames)
        assert [await anext(frames) for _ in range(2)] == [b": still here\n\n"] * 2


async def test_there_are_no_more_streams_than_may_be_and_they_end_with_the_process(pipeline: Pipeline) -> None:
    async with AsyncExitStack() as streams:
        with running(pipeline, MINEGNK_API_SUBSCRIBERS="1") as api:  # which waits for exit code 0
            stream = await streams.enter_async_context(follow(api))
            await stream.place()
            response = await asyncio.to_thread(api.ask, "GET", "/events")
            assert problem_of(response)["code"] == "too_many_subscribers"
            assert (response.status_code, response.headers["retry-after"]) == (503, "30")
        with pytest.raises(AssertionError, match="ended"):
            await stream.next("status")


async def test_a_thousand_subscribers_are_all_told(
    api: RunningApi, rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    request = b"GET /api/v1/events HTTP/1.1\r\nHost: a\r\n\r\n"

    async def subscribe() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(request)
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"id: ")
        return reader, writer

    async with asyncio.timeout(90):
        subscribers = [each for _ in range(10) for each in await asyncio.gather(*(subscribe() for _ in range(100)))]
        try:
            rows.update(OTHER, status="jailed", fetched_at=ago())
            rows.update(OTHER, status="unhealthy")
            told = [asyncio.create_task(reader.readuntil(b'"unhealthy"')) for reader, _ in subscribers]
            milliseconds = []
            async with httpx.AsyncClient() as client:
                for _ in range(200):
                    began = time.perf_counter()
                    assert (await client.get(f"{api.url}/nodes/{NODE}")).status_code == 200
                    milliseconds.append(1000 * (time.perf_counter() - began))
            assert all(OTHER.encode() in text for text in await asyncio.gather(*told))
        finally:
            for _, writer in subscribers:
                writer.close()
    parts = statistics.quantiles(milliseconds, n=100)
    with capsys.disabled():
        print(f"\na node beside 1,000 subscribers: p50 {parts[49]:.1f} ms, p99 {parts[98]:.1f} ms")  # noqa: T201
