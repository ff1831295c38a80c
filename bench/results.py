"""Figures as JSON, as tables, and compared with those of another run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.draining import Drained


@dataclass(frozen=True, slots=True)
class Row:
    """Medians of the runs of one contender under one load; `of_raw` is the share of what can be read at most.

    Processor time is the contender's (`cpu_microseconds`) and PostgreSQL's (`server_microseconds`), for each record.
    """

    load: str
    contender: str
    records: int
    runs: int
    rate: float
    slowest: float
    fastest: float
    cpu_microseconds: float
    server_microseconds: float
    peak_mib: float
    wal_bytes: float
    of_raw: float | None


def row(load: str, contender: str, runs: Sequence[Drained], raw_rate: float | None) -> Row:
    """What the runs came to; of several the middle one."""
    rates = [run.rate for run in runs]
    return Row(
        load=load,
        contender=contender,
        records=max(run.records for run in runs),
        runs=len(runs),
        rate=median(rates),
        slowest=min(rates),
        fastest=max(rates),
        cpu_microseconds=median(run.cpu_seconds / run.records * 1e6 for run in runs),
        server_microseconds=median(run.server_cpu_seconds / run.records * 1e6 for run in runs),
        peak_mib=max(run.peak_mib for run in runs),
        wal_bytes=median(run.wal_bytes / run.records for run in runs),
        of_raw=median(rates) / raw_rate if raw_rate else None,
    )


def show_rows(console: Console, rows: Sequence[Row]) -> None:
    """The table of what was drained."""
    table = Table(title="From Kafka to committed rows: records a second, medians (slowest to fastest run)")
    for heading in ("load", "who", "records/s", "range", "of raw", "CPU µs", "PostgreSQL µs", "peak MiB", "WAL B"):
        table.add_column(heading, justify="left" if heading in ("load", "who") else "right")
    for each in rows:
        table.add_row(
            each.load,
            each.contender,
            f"{each.rate:,.0f}",
            f"{each.slowest:,.0f} to {each.fastest:,.0f}",
            f"{each.of_raw:.0%}" if each.of_raw else "",
            f"{each.cpu_microseconds:.1f}",
            f"{each.server_microseconds:.1f}",
            f"{each.peak_mib:.0f}",
            f"{each.wal_bytes:.0f}",
        )
    console.print(table)


def figures_of(path: Path) -> dict[str, tuple[float, str]]:
    """Every figure of a results file by its name, with its unit."""
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    figures = {f"{each['load']} {each['contender']}": (each["rate"], "records/s") for each in found["drained"]}
    for each in found["latencies"]:
        figures[f"latency at {each['rate']:,}/s, p50"] = (each["p50"], "ms")
        figures[f"latency at {each['rate']:,}/s, p99"] = (each["p99"], "ms")
    return figures | {name: (rate, "records/s") for name, rate in found["rates"].items()}


def compare(console: Console, before: Path, after: Path) -> None:
    """Both files' figures side by side, and what the second are of the first.

    Two runs are of two moments of a machine: a raw limit that changed tells how far.
    """
    old, new = figures_of(before), figures_of(after)
    table = Table(title=f"{after.name} against {before.name}")
    for heading in ("figure", "before", "after", "after ÷ before"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for name in [*old, *(name for name in new if name not in old)]:
        values = [figures.get(name) for figures in (old, new)]
        shown = [f"{value[0]:,.1f} {value[1]}" if value else "" for value in values]
        ratio = f"{values[1][0] / values[0][0]:.2f}" if values[0] and values[1] and values[0][0] else ""
        table.add_row(name, *shown, ratio)
    console.print(table)
