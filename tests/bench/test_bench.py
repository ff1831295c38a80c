"""The benchmark works: every part of it measures something. How much is not judged here: machines are noisy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.pipeline import REPOSITORY

_PARTS = "nodes-1k,earnings-year,latency,publishing,backfill"


def bench(*arguments: str) -> str:
    command = [sys.executable, "-m", "bench", *arguments]
    ended = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_every_part_of_the_benchmark_gives_a_figure_and_two_runs_can_be_compared(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    printed = bench("--quick", "--only", _PARTS, "--json", str(file))
    found = json.loads(file.read_text())
    drained = {(row["load"], row["contender"]): row for row in found["drained"]}
    assert set(drained) == {
        ("nodes-1k", "raw"),
        ("nodes-1k", "raw, plain"),
        ("nodes-1k", "cache"),
        ("nodes-1k", "cache, again: all stale"),
        ("earnings-year", "raw"),
        ("earnings-year", "raw, plain"),
        ("earnings-year", "earnings"),
    }
    assert all(row["rate"] > 0 and row["records"] > 0 and row["peak_mib"] > 0 for row in drained.values())
    assert {row["rate"] for row in found["latencies"]} > {1000}, "also at half of what a worker can do"
    assert all(0 < row["p50"] <= row["p99"] <= row["longest"] for row in found["latencies"])
    assert set(found["rates"]) == {"ingest publishes", "backfill of a file"}
    assert "of raw" in printed
    compared = bench("compare", str(file), str(file))
    assert compared.count("1.00") >= len(drained)


def test_a_part_or_a_file_that_does_not_exist_is_named() -> None:
    wrong = subprocess.run(
        [sys.executable, "-m", "bench", "compare", "nowhere.json", "nothing.json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert wrong.returncode == 2
    assert "two results files" in wrong.stderr
