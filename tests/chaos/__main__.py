"""`python -m tests.chaos --schedules 20`: real workers under schedules of faults, and every event accounted for."""

import argparse
import asyncio
import logging
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.report import table
from tests.chaos.run import Outcome, run_schedule
from tests.chaos.schedule import schedule


def main() -> int:
    """Run them one after the other; the exit code is 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--schedules", type=int, default=20, help="how many schedules")
    parser.add_argument("--events", type=int, default=50_000, help="records published during each")
    parser.add_argument("--seconds", type=float, default=66, help="length of each, without its start and its end")
    parser.add_argument("--seed", type=int, help="the first schedule's; the next ones follow (default: by chance)")
    parser.add_argument("--report", type=Path, help="file for the table, in Markdown")
    arguments = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the test's own clients, whose broker is killed, too
    seed = secrets.randbelow(10**6) if arguments.seed is None else arguments.seed
    outcomes: list[Outcome] = []
    for number in range(seed, seed + arguments.schedules):
        _say(str(schedule(number, arguments.seconds)))
        outcomes.append(_run(number, arguments.seconds, arguments.events))
        _say(f"{outcomes[-1]}\n")
        if arguments.report:
            arguments.report.write_text(table(outcomes), encoding="utf-8")
    _say(table(outcomes))
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def _run(seed: int, seconds: float, events: int) -> Outcome:
    """One schedule, in a temporary folder that stays when it failed: the logs of its workers are there."""
    folder = Path(tempfile.mkdtemp(prefix=f"minegnk-chaos-{seed}-"))
    outcome = asyncio.run(run_schedule(seed, seconds, events, folder))
    if outcome.passed:
        shutil.rmtree(folder)
    else:
        outcome.failures.append(f"logs: {folder}")
    return outcome


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
