"""`make bench`: how fast events become rows, beside the limits of the same machine at the same time.

    make bench [ARGS="--quick --runs 3 --only nodes-1k,latency --json FILE"]
    make bench-peers               the same loads, also by what one would pick instead (bench/peers)
    python -m bench compare A B    two results files
    python -m bench growth         what a record costs as tables grow

Kafka, PostgreSQL (durable defaults), the workers and this process share the machine, so that ratios count, and
absolute figures only beside those of the same run.
"""

import argparse
import asyncio
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

import asyncpg
from rich.console import Console

from bench import growth, loads
from bench.draining import Contender, Drained, drain, raw, service
from bench.filling import fill, know_network
from bench.latency import Latency, latency
from bench.loads import Load
from bench.machine import facts
from bench.peers import PEERS, Peer, debezium_jdbc
from bench.peers.table import create
from bench.results import Row, compare, row, show_rows
from services.kernel.database import connect_arguments
from services.kernel.events import READINGS_TOPIC
from services.kernel.publisher import KafkaPublisher
from services.kernel.wire import encode_json
from tests.integration.pipeline import REPOSITORY, Pipeline, recreate_topics
from tests.standalone import own_pipeline

_QUICK = 10
_PEER_TABLE = "bench_peer"
_RESULTS = Path(__file__).parent / "results"
_LATENCY_RATE = 1_000
_LATENCY_SECONDS = 10.0
_PUBLISHED_AT_ONCE = 1_000
_BACKFILLED_DAYS = 365


@dataclass
class _Figures:
    """What was measured so far."""

    drained: list[Row] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)


class _Bench:
    """Runs the parts on one pipeline."""

    def __init__(self, pipeline: Pipeline, *, runs: int, quick: bool, peers: Sequence[Peer], say: Console) -> None:
        self._pipeline = pipeline
        self._runs = runs
        self._quick = quick
        self._peers = peers
        self._say = say
        self.figures = _Figures()

    async def load(self, load: Load, *, also_stale: bool = False) -> None:
        """Drain one load by everyone in turn, several times."""
        if self._quick:
            load = load.scaled(_QUICK)
        await recreate_topics(self._pipeline.kafka)
        self._say.print(f"{load.title}: publishing {load.records:,} records ...")
        await fill(self._pipeline.kafka, load)
        found: dict[str, list[Drained]] = {}
        limit, plain = raw(load.topic), raw(load.topic, plain=True)
        ours = service(load.service)
        for number in range(self._runs):
            for contender in (limit, plain):
                await self._drain(load, contender, contender.name, found)
            await know_network(self._pipeline, load.nodes)
            await self._drain(load, ours, ours.name, found)
            if also_stale:
                await self._drain(load, ours, f"{ours.name}, again: all stale", found)
            for peer in self._peers if load.topic == READINGS_TOPIC else ():
                await self._renew_peer_table(load.nodes)
                # A group of its own: the one before may have a member that was killed, until its session ends.
                group = f"{peer.group}.{load.name}.{number}"
                await self._drain(
                    load, Contender(peer.name, peer.command(group, _PEER_TABLE), group, {}), peer.name, found
                )
        fastest = median(run.rate for run in found[limit.name])
        rows = [row(load.name, name, runs, fastest) for name, runs in found.items()]
        self.figures.drained += rows

    async def _drain(self, load: Load, contender: Contender, name: str, found: dict[str, list[Drained]]) -> None:
        drained = await drain(self._pipeline, contender, load.topic)
        found.setdefault(name, []).append(drained)
        self._say.print(f"  {name}: {drained.rate:,.0f} records/s ({drained.seconds:.1f} s)")

    async def _renew_peer_table(self, nodes: int) -> None:
        connection = await asyncpg.connect(**connect_arguments(self._pipeline.database))
        try:
            await create(connection, _PEER_TABLE, nodes)
        finally:
            await connection.close()

    async def latencies(self) -> None:
        """At 1,000 readings a second, and at half of what a worker can do."""
        rates = [_LATENCY_RATE]
        if drained := [each for each in self.figures.drained if (each.load, each.contender) == ("nodes-1k", "cache")]:
            rates.append(round(drained[0].rate / 2 / 1000) * 1000)
        for rate in rates:
            await recreate_topics(self._pipeline.kafka)
            await know_network(self._pipeline, loads.THOUSAND.nodes)
            worker = self._pipeline.start("cache")
            seconds = _LATENCY_SECONDS / (5 if self._quick else 1)
            measured = await latency(self._pipeline, nodes=loads.THOUSAND.nodes, rate=rate, seconds=seconds)
            worker.stop()
            self.figures.latencies.append(measured)
            self._say.print(
                f"latency at {measured.achieved:,.0f}/s: p50 {measured.p50:.1f} ms, p99 {measured.p99:.1f} ms, "
                f"longest {measured.longest:.0f} ms ({measured.seen:,} rows seen)"
            )

    async def publishing(self) -> None:
        """What ingest's publisher gets acknowledged when there is always more."""
        await recreate_topics(self._pipeline.kafka)
        rounds = 100 // (_QUICK if self._quick else 1)
        polls = [
            [loads.reading(node, datetime.now(UTC), number) for node in range(_PUBLISHED_AT_ONCE)]
            for number in range(rounds)
        ]
        publisher = KafkaPublisher(self._pipeline.kafka)
        async with publisher:
            await publisher.publish(polls[0])
            begun = time.perf_counter()
            for readings in polls[1:]:
                await publisher.publish(readings)
            seconds = time.perf_counter() - begun
        self._rate("ingest publishes", (rounds - 1) * _PUBLISHED_AT_ONCE / seconds)

    async def backfill(self) -> None:
        """`minegnk backfill --file`: a year of 100 hosts as JSON lines, checked, published, and all acknowledged."""
        await recreate_topics(self._pipeline.kafka)
        records = 100 * _BACKFILLED_DAYS // (_QUICK if self._quick else 1)
        with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
            file.writelines(encode_json(report) + b"\n" for report in loads.reports(100, records))
            file.flush()
            begun = time.perf_counter()
            command = [sys.executable, "-m", "services", "backfill", "--file", file.name]
            await asyncio.to_thread(
                subprocess.run,
                command,
                env=self._pipeline.environment(),
                cwd=REPOSITORY,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._rate("backfill of a file", records // 100 * 100 / (time.perf_counter() - begun))

    def _rate(self, name: str, rate: float) -> None:
        self.figures.rates[name] = rate
        self._say.print(f"{name}: {rate:,.0f} records/s")


_PARTS: Final[Mapping[str, Callable[[_Bench], Awaitable[None]]]] = {
    loads.THOUSAND.name: lambda bench: bench.load(loads.THOUSAND, also_stale=True),
    loads.MANY.name: lambda bench: bench.load(loads.MANY),
    loads.HOT.name: lambda bench: bench.load(loads.HOT),
    loads.INVALID.name: lambda bench: bench.load(loads.INVALID),
    loads.YEAR.name: lambda bench: bench.load(loads.YEAR),
    "latency": _Bench.latencies,
    "publishing": _Bench.publishing,
    "backfill": _Bench.backfill,
}


def _chosen_peers(names: str) -> list[str]:
    return list(PEERS) if names == "all" else [name for name in names.split(",") if name]


def _peers(names: str) -> list[Peer]:
    chosen = [PEERS[name] for name in _chosen_peers(names)]
    if PEERS["debezium_jdbc"] in chosen:
        debezium_jdbc.jars()  # downloaded before anything is measured
    return chosen


async def _run(bench: _Bench, only: Sequence[str]) -> None:
    for name, part in _PARTS.items():
        if not only or name in only:
            await part(bench)


def main() -> int:
    """Measure and print, or compare; returns the exit code."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # groups that are reset complain
    match sys.argv[1:]:
        case ["compare", *files]:
            return _compare(files)
        case ["growth", *arguments]:
            return growth.main(arguments)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the records, one run: does it work?")
    parser.add_argument("--runs", type=int, default=3, help="of each contender under each load")
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--peers", default="", help="also drain by these peers, separated by commas, or by all")
    parser.add_argument("--json", type=Path, help="the results file (bench/results/DATE.json; none of --quick)")
    given = parser.parse_args()
    only = [name for name in given.only.split(",") if name]
    for chosen, known in ((only, _PARTS), (_chosen_peers(given.peers), PEERS)):
        if unknown := [name for name in chosen if name not in known]:
            parser.error(f"there is no {', '.join(unknown)}, but {', '.join(known)}")
    console = Console(width=150)
    machine = facts()
    console.print(machine.line)
    with own_pipeline() as pipeline:
        bench = _Bench(
            pipeline, runs=1 if given.quick else given.runs, quick=given.quick, peers=_peers(given.peers), say=console
        )
        asyncio.run(_run(bench, only))
    figures = bench.figures
    show_rows(console, figures.drained)
    if given.json or not given.quick:
        path = given.json or _RESULTS / f"{machine.at[:16].replace(':', '')}.json"
        path.parent.mkdir(exist_ok=True)
        written = {"machine": asdict(machine), **asdict(figures)}
        path.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
        console.print(f"written: {path}")
    return 0


def _compare(arguments: Sequence[str]) -> int:
    if len(arguments) != 2 or not all(Path(name).is_file() for name in arguments):
        sys.stderr.write("python -m bench compare BEFORE AFTER: two results files (bench/results/)\n")
        return 2
    compare(Console(width=120), *map(Path, arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
