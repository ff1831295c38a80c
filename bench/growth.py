"""`python -m bench growth`: what a reading costs as the network grows, and a report as the history does.

Costs are processor time, of the worker and of PostgreSQL, for each record: on a machine with other work beside it, what
changes least. Readings are of nodes that are known already, round after round; reports are one year after another, each
drained into the tables that the years before have left.
"""

import argparse
import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import loads
from bench.draining import Drained, drain, service
from bench.filling import fill, know_network
from bench.machine import facts
from bench.plot import Line, Panel, svg
from services.kernel.wire import OutgoingRecord, encode
from tests.integration.pipeline import Pipeline, recreate_topics
from tests.standalone import own_pipeline

_SIZES = (
    "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class WHERE relname = ANY($1::text[])"
    " AND relkind = 'r'"
)
_OF_NODES = ["nodes", "node_stats_cache", "node_facts", "node_uptime"]
_OF_EARNINGS = ["earnings_ledger", "earnings_ledger_version", "earnings_history", "earnings_node"]


@dataclass(frozen=True, slots=True)
class Point:
    """Costs at one size: `size` nodes, or `size` rows of history before the year that was drained."""

    what: str
    size: int
    records: int
    rate: float
    worker_microseconds: float
    server_microseconds: float
    wal_bytes: float
    peak_mib: float
    tables_mib: float


def _point(what: str, size: int, drained: Drained, tables_bytes: int) -> Point:
    return Point(
        what,
        size,
        drained.records,
        drained.rate,
        drained.cpu_seconds / drained.records * 1e6,
        drained.server_cpu_seconds / drained.records * 1e6,
        drained.wal_bytes / drained.records,
        drained.peak_mib,
        tables_bytes / 2**20,
    )


async def of_nodes(pipeline: Pipeline, nodes: int, records: int) -> Point:
    """What a reading costs in a network of so many nodes."""
    load = replace(loads.MANY, nodes=nodes, records=records)
    await recreate_topics(pipeline.kafka)
    await fill(pipeline.kafka, load)
    await know_network(pipeline, nodes)
    drained = await drain(pipeline, service(load.service), load.topic)
    return _point("nodes", nodes, drained, await _size(pipeline, _OF_NODES))


async def of_history(pipeline: Pipeline, year: int, *, hosts: int, epochs: int) -> Point:
    """What a report of the year with this number costs, when the ones before it are history."""
    start = datetime.now(UTC) - timedelta(days=2_000)
    first = year * epochs
    reports = partial(_year, range(first, first + epochs), hosts, start)
    load = replace(loads.YEAR, nodes=hosts, records=hosts * epochs, make=lambda *_: reports())
    await recreate_topics(pipeline.kafka)
    await fill(pipeline.kafka, load)
    if not year:
        await know_network(pipeline, hosts)
    drained = await drain(pipeline, service(load.service), load.topic)
    return _point("history", hosts * first, drained, await _size(pipeline, _OF_EARNINGS))


def _year(epochs: range, hosts: int, start: datetime) -> Iterator[OutgoingRecord]:
    for epoch in epochs:
        settled_at = start + timedelta(hours=loads.EPOCH_HOURS * epoch)
        for host in range(hosts):
            yield encode(loads.report(host, epoch, settled_at))


async def _size(pipeline: Pipeline, tables: Sequence[str]) -> int:
    ((size,),) = await pipeline.rows(_SIZES, tables)
    return int(size)


def _plot(points: Sequence[Point]) -> str:
    panels = []
    for what, title, axis, logarithmic in (
        ("nodes", "A reading, as the network grows", "nodes", True),
        ("history", "A report, as the history grows", "rows of history before", False),
    ):
        own = [point for point in points if point.what == what]
        lines = [
            Line("worker", [(point.size, point.worker_microseconds) for point in own]),
            Line("PostgreSQL", [(point.size, point.server_microseconds) for point in own]),
        ]
        panels.append(Panel(title, axis, "µs of processor", lines, logarithmic=logarithmic))
    return svg([panel for panel in panels if panel.lines[0].points])


def _show(console: Console, points: Sequence[Point]) -> None:
    table = Table(title="What a record costs as the tables grow")
    for heading in ("size", "records/s", "worker µs", "PostgreSQL µs", "WAL B", "peak MiB", "tables MiB"):
        table.add_column(heading, justify="right")
    for point in points:
        table.add_row(
            f"{point.size:,} {'nodes' if point.what == 'nodes' else 'rows of history'}",
            f"{point.rate:,.0f}",
            f"{point.worker_microseconds:.1f}",
            f"{point.server_microseconds:.1f}",
            f"{point.wal_bytes:,.0f}",
            f"{point.peak_mib:.0f}",
            f"{point.tables_mib:,.0f}",
        )
    console.print(table)


async def _measure(pipeline: Pipeline, given: argparse.Namespace, console: Console) -> list[Point]:
    points = []
    for nodes in given.nodes:
        console.print(f"{nodes:,} nodes ...")
        points.append(await of_nodes(pipeline, nodes, given.records))
    for year in range(given.years):
        console.print(f"year {year + 1} of {given.hosts:,} hosts ...")
        points.append(await of_history(pipeline, year, hosts=given.hosts, epochs=given.epochs))
    return points


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench growth", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--nodes", type=_numbers, default=[1_000, 10_000, 100_000, 1_000_000], help="sizes, separated by commas"
    )
    parser.add_argument("--records", type=int, default=400_000, help="readings at each size")
    parser.add_argument("--years", type=int, default=3, help="years of reports, one after the other")
    parser.add_argument("--hosts", type=int, default=1_000, help="hosts that are paid in each epoch")
    parser.add_argument("--epochs", type=int, default=365, help="epochs of a year")
    parser.add_argument("--json", type=Path, help="the results file")
    parser.add_argument("--svg", type=Path, help="the plot")
    given = parser.parse_args(arguments)
    console, machine = Console(width=150), facts()
    console.print(machine.line)
    with own_pipeline() as pipeline:
        points = asyncio.run(_measure(pipeline, given, console))
    _show(console, points)
    if given.json:
        written = {"machine": asdict(machine), "growth": [asdict(point) for point in points]}
        given.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    if given.svg:
        given.svg.write_text(_plot(points), encoding="utf-8")
    return 0


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]
