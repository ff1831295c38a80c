"""Pushing under load: 50 producers with a key each, publishing readings in batches through the push API.

    make bench-pushing [ARGS="--batch 200 --rate 12000 --seconds 10 --json FILE"]

An answer of 202 says that Kafka has the whole batch, so that its time is the time to Kafka's acknowledgement. Kafka,
ingest and the generator share the machine.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.load import AtRate, Request, at_rate, most, need_generators
from bench.machine import facts
from services.kernel.errors import ConfigurationError
from services.kernel.events import READINGS_TOPIC
from tests.integration.pipeline import Pipeline
from tests.push.pushing import known, new_producer, running_ingest
from tests.standalone import own_pipeline

_PRODUCERS = 50
_NODES = 1000


async def _requests(pipeline: Pipeline, url: str, batch: int) -> list[Request]:
    """One of each producer: a batch of readings of 370 bytes, each of another node."""
    requests = []
    for number in range(_PRODUCERS):
        source = f"pool-{number}"
        producer = await new_producer(pipeline.kafka, source)
        readings = [_reading(source, (number * batch + item) % _NODES) for item in range(batch)]
        headers = {"Authorization": f"Bearer {producer.text}", "Content-Type": "application/json"}
        requests.append(Request(f"{url}/v1/readings", headers, json.dumps(readings)))
    return requests


def _reading(source: str, node: int) -> dict[str, object]:
    return {
        "identifier": f"gonka1{node:038}",
        "identifier_type": "wallet",
        "source": source,
        "observed_at": (datetime.now(UTC) - timedelta(seconds=1)).isoformat(),
        "status": "healthy",
        "health_probed": True,
        "jobs_day": node,
        "active_model": "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8",
        "voting_weight": "15034.5",
        "epoch": 187,
        "height": 2871045,
        "gpu_type": "8 x H100 80GB",
        "region": "Finland",
    }


async def _records(pipeline: Pipeline) -> int:
    """How many there are once no more come: a generator ends with requests under way."""
    before = -1
    while (records := (await pipeline.state(READINGS_TOPIC)).records) != before:
        before = records
        await asyncio.sleep(0.5)
    return records


def main() -> int:
    """Measure, print the table, write JSON; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.pushing")
    parser.add_argument("--batch", type=int, default=200, help="readings of a request")
    parser.add_argument("--rate", type=int, default=12_000, help="readings a second of the fixed rate")
    parser.add_argument("--seconds", type=int, default=10, help="of each run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    given = parser.parse_args()
    try:
        need_generators()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with own_pipeline() as pipeline, running_ingest(pipeline, MINEGNK_PUSH_RATE_LIMIT="0") as ingest:
        requests = asyncio.run(_requests(pipeline, ingest.url, given.batch))
        marker = asyncio.run(new_producer(pipeline.kafka, "marker"))
        asyncio.run(known(ingest, marker))
        fixed: list[AtRate] = []
        fastest: list[float] = []
        for _ in range(given.runs):
            before = asyncio.run(_records(pipeline))
            fixed.append(at_rate(requests, rate=given.rate // given.batch, seconds=given.seconds))
            arrived = asyncio.run(_records(pipeline)) - before
            accepted = round(fixed[-1].requests * fixed[-1].ok_share) * given.batch
            if arrived != accepted:
                sys.stderr.write(f"{accepted} readings were accepted, but {arrived} are in Kafka\n")
                return 1
            fastest.append(most(requests, connections=_PRODUCERS, seconds=given.seconds, folder=pipeline.logs))
    machine = facts()
    console = Console(width=140)
    console.print(machine.line)
    table = Table(
        title=f"{_PRODUCERS} producers, batches of {given.batch} readings; times to Kafka's acknowledgement, ms"
    )
    for heading in ("readings/s", "p50", "p99", "longest", "answered", "most readings/s"):
        table.add_column(heading, justify="right")
    table.add_row(
        f"{given.rate:,}",
        f"{median(run.p50 for run in fixed):.1f}",
        f"{median(run.p99 for run in fixed):.1f}",
        f"{max(run.longest for run in fixed):.0f}",
        f"{min(run.ok_share for run in fixed):.2%}",
        f"{median(fastest) * given.batch:,.0f}",
    )
    console.print(table)
    if given.json:
        figures = {"fixed": [asdict(run) for run in fixed], "most_readings": [rate * given.batch for rate in fastest]}
        given.json.write_text(json.dumps({"machine": asdict(machine), "pushing": figures}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
