"""`python -m tests.year`: 365 epochs of 1,000 paid hosts through the real path, then all of it again in disorder."""

import argparse
import asyncio
import logging
import sys
from datetime import timedelta
from pathlib import Path

import structlog

from services.kernel import migrations
from tests.integration.pipeline import Pipeline
from tests.standalone import own_pipeline
from tests.year.report import report
from tests.year.year import Outcome, Plan, Year, deliver_in_disorder

_SECOND_DATABASE = "minegnk_again"


def main() -> int:
    """Live through it; the exit code is 1 when an amount, a date or a row is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.year", description=__doc__)
    parser.add_argument("--epochs", type=int, default=365, help="how many settle")
    parser.add_argument("--hosts", type=int, default=1370, help="how many are listed; three in four are paid an epoch")
    parser.add_argument("--seed", type=int, default=1, help="of the network and of what goes wrong")
    parser.add_argument("--poll-hours", type=float, default=8, help="virtual hours from one poll to the next")
    parser.add_argument("--report", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    plan = Plan(arguments.epochs, arguments.hosts, timedelta(hours=arguments.poll_hours), arguments.seed)
    with own_pipeline() as pipeline:
        outcome = asyncio.run(_year(plan, pipeline))
    text = report(outcome)
    if arguments.report:
        arguments.report.write_text(f"{text}\n", encoding="utf-8")
    sys.stdout.write(f"{text}\n")
    return 1 if outcome.differences else 0


async def _year(plan: Plan, pipeline: Pipeline) -> Outcome:
    year = Year(plan, pipeline)
    await year.live()
    sys.stderr.write(f"{report(year.outcome)}\n")
    await pipeline.execute(f"CREATE DATABASE {_SECOND_DATABASE}")
    database = pipeline.database.model_copy(update={"database": _SECOND_DATABASE})
    await asyncio.to_thread(migrations.apply, database)
    second = Pipeline(database, pipeline.kafka, pipeline.logs / "again")
    second.logs.mkdir()
    try:
        await deliver_in_disorder(plan, pipeline, second, pipeline.logs / "reports", year.outcome)
    finally:
        second.stop_all()
    return year.outcome


if __name__ == "__main__":
    sys.exit(main())
