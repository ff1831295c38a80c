"""Stale readings are answered at once and asked for once; tags and ages; without Kafka, and without PostgreSQL."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from services.embedded.servers import Endpoints
from services.kernel.events import REFRESH_TOPIC, RefreshRequest
from services.kernel.settings import KafkaSettings
from services.kernel.wire import decoder_for
from tests.api.rows import Rows, ago, today
from tests.api.server import RunningApi, problem_of, running
from tests.chaos.proxy import FAIR, Proxy, Weather
from tests.integration.conftest import NewDatabase
from tests.integration.pipeline import Pipeline, free_port, records_of, recreate_topics
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

TTL = 300


@pytest.fixture(scope="module")
def pipeline(
    new_database: NewDatabase, kafka: KafkaSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """With clean topics: requests are counted."""
    asyncio.run(recreate_topics(kafka))
    pipeline = Pipeline(new_database(), kafka, tmp_path_factory.mktemp("api"))
    yield pipeline
    pipeline.stop_all()


@pytest.fixture(scope="module", autouse=True)
def nodes(rows: Rows) -> None:
    rows.node("gonka1fresh", source="fresh", age=5, earnings_day="0")
    rows.history("gonka1fresh", {today(): "0"})
    for name in ("asked", "listed", "polled", "barrier", "away"):
        for number in (1, 2, 3):
            rows.node(f"gonka1{name}{number}", source=name, age=1000, status="healthy")
        rows.source(name, last_attempt_at=ago(seconds=1000), poll_interval_seconds=60)
    rows.connection.execute("UPDATE tracker_sources SET last_attempt_at = now() WHERE name = 'polled'")
    rows.node("gonka1never", read=False)


def requests(pipeline: Pipeline) -> list[RefreshRequest]:
    return [decoder_for(RefreshRequest)(each) for each in asyncio.run(records_of(pipeline.kafka, REFRESH_TOPIC))]


def test_a_stale_reading_is_answered_at_once_and_asked_for_once(api: RunningApi, pipeline: Pipeline) -> None:
    def ask(number: int) -> Any:
        return api.get(f"/nodes/gonka1asked{number % 3 + 1}")

    began = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(60)))
    assert time.monotonic() - began < 10  # the poll that is asked for never comes
    assert {answer["stale"] for answer in answers} == {True}
    assert all(1000 <= answer["age_seconds"] < 1200 for answer in answers)
    api.get("/nodes/gonka1polled1")
    api.get("/nodes/gonka1fresh")
    api.get("/nodes/gonka1never")
    api.get("/nodes", q="gonka1listed")
    # The wishes are worked off in turn: once the last source was asked for, so were all before it.
    api.get("/nodes/gonka1barrier1")
    wait_until(lambda: "barrier" in [request.source for request in requests(pipeline)])
    found = requests(pipeline)
    assert sorted(request.source for request in found) == ["asked", "barrier", "listed"]
    assert {request.requested_by for request in found} == {"api"}
    assert all(abs((datetime.now(UTC) - request.requested_at).total_seconds()) < 60 for request in found)


def test_who_waits_gets_the_reading_that_comes(api: RunningApi, rows: Rows) -> None:
    with ThreadPoolExecutor(1) as threads:
        began = time.monotonic()
        waiting = threads.submit(lambda: api.get("/nodes/gonka1asked1", wait="10s"))
        with pytest.raises(TimeoutError):
            waiting.result(0.5)
        rows.update("gonka1asked1", fetched_at=ago(seconds=1), status="jailed")
        answer = waiting.result(20)
    assert time.monotonic() - began < 8
    assert (answer["stale"], answer["status"]) == (False, "jailed")
    assert answer["age_seconds"] < 60


def test_who_waits_in_vain_gets_the_stale_reading(api: RunningApi) -> None:
    began = time.monotonic()
    answer = api.get("/nodes/gonka1asked2", wait="1.5s")
    assert 1.5 <= time.monotonic() - began < 8
    assert (answer["stale"], answer["status"]) == (True, "healthy")


def test_a_fresh_reading_is_not_waited_for(api: RunningApi) -> None:
    began = time.monotonic()
    assert api.get("/nodes/gonka1fresh", wait="10s")["stale"] is False
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("wait", ["11s", "-1s", "2m", "s", "1e1", "2.5555"])
def test_how_long_to_wait_is_in_seconds_up_to_ten(api: RunningApi, wait: str) -> None:
    assert api.problem("/nodes/gonka1fresh", params={"wait": wait})["parameter"] == "wait"


@pytest.mark.parametrize(
    "path",
    [
        "/nodes?q=fresh",
        "/nodes/gonka1fresh",
        "/nodes/gonka1fresh/earnings",
        "/nodes/gonka1fresh/timeline",
        "/summary",
        "/sources",
        "/trends",
    ],
)
def test_a_client_that_has_an_answer_is_not_sent_it_again(api: RunningApi, path: str) -> None:
    first = api.ask("GET", path)
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    for sent in (tag, f'"other", {tag}', "*"):
        again = api.ask("GET", path, headers={"If-None-Match": sent})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["cache-control"].split(",")[0] == first.headers["cache-control"].split(",")[0]
    assert api.ask("GET", path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_tag_changes_with_the_reading(api: RunningApi, rows: Rows) -> None:
    tag = api.ask("GET", "/nodes/gonka1fresh").headers["etag"]
    rows.update("gonka1fresh", jobs_day=77)

    def changed() -> bool:
        response = api.ask("GET", "/nodes/gonka1fresh", headers={"If-None-Match": tag})
        return response.status_code == 200 and response.json()["jobs_day"] == 77

    wait_until(changed, 5)


def test_how_long_an_answer_may_be_kept_follows_from_the_time_to_live(api: RunningApi, rows: Rows) -> None:
    rows.node("gonka1ageing", source="fresh", age=200)
    kept = api.ask("GET", "/nodes/gonka1ageing").headers["cache-control"]
    public, most, revalidate = kept.split(", ")
    assert (public, most) == ("public", "max-age=10")
    assert 0 < int(revalidate.removeprefix("stale-while-revalidate=")) <= TTL - 200
    stale = api.ask("GET", "/nodes/gonka1listed1").headers["cache-control"]
    assert stale == "public, max-age=0, stale-while-revalidate=0"


def test_a_day_s_earnings_name_their_date_and_whether_it_is_over(api: RunningApi) -> None:
    detail = api.get("/nodes/gonka1fresh")
    assert detail["earnings_day"] == {"date": today().isoformat(), "gnk": "0.00000000", "final": False}
    assert api.get("/nodes/gonka1never")["earnings_day"] is None
    assert detail["ttl_seconds"] == TTL


def test_without_kafka_everything_is_answered(pipeline: Pipeline) -> None:
    with running(pipeline, MINEGNK_KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}") as api:
        for _ in range(2):
            assert api.get("/nodes/gonka1away1")["stale"] is True
        assert api.get("/nodes/gonka1away1", wait="0.2s")["stale"] is True
        assert api.get("/nodes")["total"] > 0
        wait_until(lambda: "refresh_not_requested" in api.log, 60)
        assert api.get("/summary")["nodes"]["total"] > 0
        assert "unforeseen_error" not in api.log


@pytest.fixture
def weather(runtime: Endpoints) -> Iterator[tuple[int, Callable[[Weather], None]]]:
    """A port by which PostgreSQL is reached, and what changes its weather."""
    loop = asyncio.new_event_loop()
    proxy = Proxy(free_port(), Random(1))
    proxy.target_port = runtime.postgres_port
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(proxy.start(), loop).result(10)
    yield proxy.port, lambda change: asyncio.run_coroutine_threadsafe(_changed(proxy, change), loop).result(10)
    asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _changed(proxy: Proxy, weather: Weather) -> None:
    proxy.change(weather)


def test_without_postgresql_answers_are_problems_until_it_is_back(
    pipeline: Pipeline, rows: Rows, weather: tuple[int, Callable[[Weather], None]]
) -> None:
    port, change = weather
    key = {"Authorization": f"Bearer {rows.key('admin')}"}
    paths = [
        "/nodes",
        "/nodes?format=csv",
        "/nodes/gonka1fresh",
        "/nodes/gonka1fresh/earnings",
        "/nodes/gonka1fresh/earnings?format=csv",
        "/nodes/gonka1fresh/timeline",
        "/earnings?format=csv",
        "/earnings",
        "/trends",
        "/summary",
        "/sources",
        "/keys",
    ]
    with running(pipeline, DB_PORT=str(port)) as api:

        def statuses() -> set[int]:
            return {api.ask("GET", path, headers=key).status_code for path in paths}

        assert statuses() == {200}
        change(Weather(cut=True))
        # What is remembered, like the summary, is given for some seconds more.
        wait_until(lambda: statuses() == {503}, 30)
        for path in paths:
            response = api.ask("GET", path, headers=key)
            assert problem_of(response)["code"] == "database_away", path
            assert int(response.headers["retry-after"]) > 0
        assert api.client.get(f"http://127.0.0.1:{api.port}/livez").status_code == 200
        change(FAIR)
        wait_until(lambda: statuses() == {200}, 30)
        assert "unforeseen_error" not in api.log
