"""`python -m tests.api.contract --cases 5000 [--seed N]`: a real API against its own OpenAPI document (schemathesis).

No answer may be a 500, of a status, media type, header or shape that the document does not have, or a success for what
the document forbids. `/events` never ends and is left out: tests/api/test_events.py reads it.
"""

import argparse
import re
import secrets
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from services.api.schemas import Scope
from tests.api.rows import Rows, ago, today
from tests.api.server import RunningApi, running
from tests.schema.sessions import session
from tests.standalone import own_pipeline

_GENERATED = re.compile(r"([0-9,]+) generated")


class Verdict(NamedTuple):
    """How many cases there were, and whether all of them went as the document says."""

    cases: int
    passed: bool
    report: str


def some_rows(rows: Rows) -> None:
    """A node of each kind, with all that can be known of one, and a user who has two of them."""
    rows.node("gonka1contract", status="healthy", source="hyperfusion", earnings_day="1", earnings_total="12.5", age=5)
    rows.node("gonka1contract/node-1", identifier_type="node_id", read=False)
    rows.history("gonka1contract", {today() - timedelta(days=number): "1.00000001" for number in range(1, 40)})
    rows.refresh_sums()
    rows.settlement(100, ago(days=1))
    rows.basis("gonka1contract")
    rows.report("gonka1contract", "gonka_api", 100, 12_500_000_001, before=[7])
    rows.report("gonka1contract", "gonka_api", 101, 5, final=False, method="weight share")
    rows.source("hyperfusion", last_attempt_at=ago(seconds=5), last_success_at=ago(seconds=5), data_at=ago(seconds=5))
    owner = rows.user("contract@example.org", telegram="@contract")
    rows.assign(owner, "gonka1contract", assigned_by=owner)
    rows.assign(owner, "gonka1contract/node-1")


def check(api: RunningApi, key: str, *, examples: int, folder: Path, seed: int, phases: str) -> Verdict:
    """Ask for what the document allows and for what it forbids, at most `examples` a phase and operation."""
    ended = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{api.url}/openapi.json",
            f"--header=Authorization: Bearer {key}",
            "--exclude-path=/api/v1/events",
            f"--phases={phases}",
            f"--max-examples={examples}",
            f"--seed={seed}",
            "--checks=all",
            # A document cannot say which cursors are ours, nor that `since` comes before `until`.
            "--exclude-checks=positive_data_acceptance",
            "--continue-on-failure",
            "--request-timeout=30",
            "--generation-database=none",
            "--suppress-health-check=all",
            "--no-color",
            "--warnings=off",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    generated = _GENERATED.search(ended.stdout)
    cases = 0 if generated is None else int(generated[1].replace(",", ""))
    return Verdict(cases, ended.returncode == 0, ended.stdout + ended.stderr)


def main() -> int:
    """Check until there were so many cases; the exit code is 1 where one of them went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.api.contract", description=__doc__)
    parser.add_argument("--cases", type=int, default=5000, help="at least so many requests")
    parser.add_argument("--seed", type=int, default=None, help="repeats a run (default: by chance, printed)")
    arguments = parser.parse_args()
    seed = secrets.randbelow(10**9) if arguments.seed is None else arguments.seed
    began, cases, passed = time.monotonic(), 0, True
    with own_pipeline() as pipeline, session(pipeline.database) as connection:
        rows = Rows(connection)
        some_rows(rows)
        key = rows.key(*Scope)
        with running(pipeline, MINEGNK_API_ACCESS="keys", MINEGNK_API_RATE_LIMIT="0") as api:
            while passed and cases < arguments.cases:
                verdict = check(
                    api,
                    key,
                    examples=100,
                    folder=pipeline.logs,
                    seed=seed + cases,
                    phases="examples,coverage,fuzzing,stateful",
                )
                cases, passed = cases + verdict.cases, verdict.passed and verdict.cases > 0
                sys.stdout.write(f"{verdict.report}\n")
            passed &= "unforeseen_error" not in api.log
    seconds = time.monotonic() - began
    sys.stdout.write(f"{'passed' if passed else 'FAILED'}: {cases:,} cases in {seconds:.0f} s, seed {seed}\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
