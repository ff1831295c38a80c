"""Reading under load: the API at a fleet of 1,000 nodes and a year, beside a call to a tracker for each request.

    make bench-reading [ARGS="--nodes 1000 --days 365 --seconds 20 --json FILE"]

The API is one process, as `minegnk api` starts it; PostgreSQL, the generator and it share the machine. Meanwhile every
node gets a new reading each minute, as polling gives it, so that no answer can be remembered for longer. What is asked
for is asked for once before it is measured: a process that has just started is no more than a minute slower.
"""

import argparse
import asyncio
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from urllib.parse import quote

import asyncpg
import httpx
from rich.console import Console
from rich.table import Table

from bench.fleet import fill
from bench.load import AtRate, Request, at_rate, most, need_generators
from bench.machine import facts
from services.kernel.database import connect_arguments
from services.kernel.errors import ConfigurationError
from services.kernel.settings import DatabaseSettings
from tests.integration.pipeline import Pipeline, free_port
from tests.standalone import own_pipeline

_CONNECTIONS = 16
_TRACKER_SECONDS = 0.5
_START_SECONDS = 60
_NEW_READINGS = """
UPDATE node_stats_cache SET fetched_at = now() WHERE abs(hashtext(node_id::text)) % 60 = $1
"""


@dataclass(frozen=True)
class Endpoint:
    """What is asked for, and how often a second."""

    name: str
    rate: int
    paths: Sequence[str]


@dataclass(frozen=True)
class Measured:
    """Medians of the runs of one endpoint, and of `longest` the longest."""

    name: str
    fixed: AtRate
    most_per_second: float


def endpoints(identifiers: Sequence[str]) -> list[Endpoint]:
    """The ones that pages and portals ask for most."""
    nodes = [f"/nodes/{quote(identifier, safe='')}" for identifier in identifiers]
    return [
        Endpoint("node", 1000, nodes),
        Endpoint("node, its last 90 days", 200, [f"{node}/earnings?limit=90" for node in nodes]),
        Endpoint("node, its year as 366 days", 100, [f"{node}/earnings?limit=366" for node in nodes]),
        Endpoint("list, 50 by earnings", 100, ["/nodes?sort=-earnings_total&limit=50"]),
        Endpoint(
            "list, filtered",
            100,
            ["/nodes?status=healthy&gpu_type=H100%2080GB&limit=50", "/nodes?q=host%20123&limit=50"],
        ),
        Endpoint("fleet's earnings by day", 100, ["/earnings?limit=90"]),
        Endpoint("summary", 1000, ["/summary"]),
        Endpoint("sources", 300, ["/sources"]),
    ]


def _measure(name: str, requests: Sequence[Request], rate: int, given: argparse.Namespace, folder: Path) -> Measured:
    """Some runs of a fixed rate, then some as fast as it goes; the medians."""
    at_rate(requests, rate=min(rate, 200), seconds=max(1, len(requests) // 200))
    fixed = [at_rate(requests, rate=rate, seconds=given.seconds) for _ in range(given.runs)]
    fastest = [
        most(requests, connections=_CONNECTIONS, seconds=given.seconds, folder=folder) for _ in range(given.runs)
    ]
    middle = AtRate(
        rate=rate,
        requests=sum(run.requests for run in fixed),
        ok_share=min(run.ok_share for run in fixed),
        p50=median(run.p50 for run in fixed),
        p99=median(run.p99 for run in fixed),
        longest=max(run.longest for run in fixed),
        answer_bytes=fixed[0].answer_bytes,
    )
    return Measured(name, middle, median(fastest))


@contextmanager
def _polled(settings: DatabaseSettings) -> Iterator[None]:
    """Give every node a new reading each minute, some each second."""
    stop = threading.Event()

    async def poll() -> None:
        connection = await asyncpg.connect(**connect_arguments(settings))
        try:
            for second in itertools.count():
                await connection.execute(_NEW_READINGS, second % 60)
                if await asyncio.to_thread(stop.wait, 1):
                    return
        finally:
            await connection.close()

    thread = threading.Thread(target=asyncio.run, args=(poll(),))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def _tracker_way() -> Iterator[int]:
    command = [sys.executable, "-m", "bench.tracker_way", str(_TRACKER_SECONDS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def _wait(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            httpx.get(url, timeout=5).raise_for_status()
            return
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _run(pipeline: Pipeline, given: argparse.Namespace) -> list[Measured]:
    console = Console(stderr=True)
    console.print(f"filling {given.nodes} nodes x {given.days} days ...")
    identifiers = asyncio.run(fill(pipeline.database, nodes=given.nodes, days=given.days))
    port = free_port()
    api = pipeline.start("api", MINEGNK_API_PORT=str(port))
    base = f"http://127.0.0.1:{port}/api/v1"
    _wait(f"{base}/summary")
    measured = []
    with _polled(pipeline.database):
        for endpoint in endpoints(identifiers):
            console.print(f"{endpoint.name} ...")
            requests = [Request(base + path) for path in endpoint.paths]
            measured.append(_measure(endpoint.name, requests, endpoint.rate, given, pipeline.logs))
    api.stop()
    with _tracker_way() as port:
        console.print("a call to a tracker for each request ...")
        base = f"http://127.0.0.1:{port}/api/v1/nodes"
        requests = [Request(f"{base}/{quote(name, safe='')}") for name in identifiers]
        _wait(requests[0].url)
        name = f"node, by a tracker of {_TRACKER_SECONDS * 1000:.0f} ms"
        measured.append(_measure(name, requests, 100, given, pipeline.logs))
    return measured


def _table(measured: Sequence[Measured]) -> Table:
    table = Table("endpoint", title="Times in milliseconds")
    for heading in ("requests/s", "p50", "p99", "longest", "answered", "KiB", "most/s", "p50 faster"):
        table.add_column(heading, justify="right")
    slowest = measured[-1].fixed.p50
    for row in measured:
        fixed = row.fixed
        table.add_row(
            row.name,
            f"{fixed.rate:,}",
            f"{fixed.p50:.2f}",
            f"{fixed.p99:.1f}",
            f"{fixed.longest:.0f}",
            f"{fixed.ok_share:.2%}",
            f"{fixed.answer_bytes / 1024:.1f}",
            f"{row.most_per_second:,.0f}",
            f"{slowest / fixed.p50:,.0f} x",
        )
    return table


def main() -> int:
    """Measure, print the table, write JSON; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.reading")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seconds", type=int, default=10, help="of each run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    given = parser.parse_args()
    try:
        need_generators()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with own_pipeline() as pipeline:
        measured = _run(pipeline, given)
    machine = facts()
    console = Console(width=140)
    console.print(machine.line)
    console.print(_table(measured))
    if given.json:
        given.json.write_text(
            json.dumps({"machine": asdict(machine), "reading": [asdict(row) for row in measured]}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
