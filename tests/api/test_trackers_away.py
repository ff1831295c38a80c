"""With every tracker gone the API answers as before and says how old that is; when they are back, so is fresh data."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.api.server import running
from tests.integration.pipeline import REPOSITORY, Pipeline, free_port, recreate_topics
from tests.waiting import wait_until

TTL_SECONDS = 15
HOSTS = 20
AGEING = {"as_of", "age_seconds", "stale", "fetched_at"}

SOURCES = """
[[sources]]
name = "hyperfusion"
kind = "hyperfusion"
base_urls = ["http://127.0.0.1:{port}"]
poll_interval = 5
preference = 600
requests_per_minute = 6000
allow_private = true
"""


@contextmanager
def simulated_trackers(port: int) -> Iterator[None]:
    """A network whose epoch lasts an hour, always the same hosts."""
    arguments = [f"--port={port}", "--epoch-seconds=3600", f"--hosts={HOSTS}", "--days=2", "--seed=5"]
    command = [sys.executable, "-m", "services", "simulator", *arguments]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("MINEGNK_SIMULATOR_URL=")
        try:
            yield
        finally:
            process.terminate()


def test_answers_stay_and_grow_old_until_the_trackers_are_back(pipeline: Pipeline) -> None:
    asyncio.run(recreate_topics(pipeline.kafka))
    port = free_port()
    sources = pipeline.logs / "sources.toml"
    sources.write_text(SOURCES.format(port=port))
    with running(pipeline, MINEGNK_API_TTL=str(TTL_SECONDS)) as api:

        def items() -> list[dict[str, Any]]:
            page: list[dict[str, Any]] = api.get("/nodes", sort="identifier", limit=500)["items"]
            return page

        def all_are(*, stale: bool) -> bool:
            page = items()
            return len(page) > HOSTS / 2 and all(item["stale"] is stale for item in page)

        with simulated_trackers(port):
            pipeline.start("cache")
            pipeline.start("ingest", MINEGNK_SOURCES_FILE=str(sources))
            wait_until(lambda: all_are(stale=False), 60)
        wait_until(lambda: all_are(stale=True), TTL_SECONDS + 30)
        before = {item["identifier"]: item for item in items()}
        wait_until(lambda: items()[0]["age_seconds"] >= before[items()[0]["identifier"]]["age_seconds"] + 2, 10)
        for item in items():
            then = before[item["identifier"]]
            assert item["fetched_at"] == then["fetched_at"]
            assert item["age_seconds"] > then["age_seconds"] >= TTL_SECONDS
            assert {key: item[key] for key in item.keys() - AGEING} == {key: then[key] for key in then.keys() - AGEING}
        (source,) = api.get("/sources")["items"]
        assert source["state"] == "failing"
        with simulated_trackers(port):
            # Nobody reads meanwhile: polling alone brings it.
            wait_until(lambda: oldest_age(pipeline) < TTL_SECONDS, TTL_SECONDS + 30)
            wait_until(lambda: all_are(stale=False), 10)


def oldest_age(pipeline: Pipeline) -> float:
    """Seconds since the oldest of the nodes' readings, by the table."""
    ((age,),) = asyncio.run(
        pipeline.rows("SELECT extract(epoch FROM now() - min(fetched_at))::float8 FROM node_stats_cache")
    )
    return float(age)
