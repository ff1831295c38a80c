"""`python -m tests.fuzz --decoder 1000000 --worker 100000 [--seed N]`: mutated records against decoders and workers."""

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from random import Random

from tests.fuzz.mutations import mutants
from tests.fuzz.verdicts import Verdicts, judge
from tests.fuzz.worker import CONSUMED, judge_through_workers
from tests.standalone import own_pipeline

APPENDED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
"""When the decoders' records are appended: with the seed it decides every byte."""


def main() -> int:
    """Run both; the exit code is 1 when a record had any other end than it should."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--decoder", type=int, default=1_000_000, help="records through the decoders")
    parser.add_argument("--worker", type=int, default=100_000, help="records through Kafka, workers and PostgreSQL")
    parser.add_argument("--seed", type=int, default=None, help="repeats a run (default: by chance, printed)")
    arguments = parser.parse_args()
    seed = secrets.randbelow(10**9) if arguments.seed is None else arguments.seed
    _say(f"seed {seed}")
    passed = True
    if arguments.decoder:
        passed &= _report(
            "decoders",
            lambda: judge(islice(mutants(Random(seed), APPENDED), arguments.decoder)),
        )
    if arguments.worker:
        passed &= _report("workers", lambda: _worker(seed, arguments.worker))
    _say(f"{'passed' if passed else 'FAILED'}, seed {seed}")
    return 0 if passed else 1


def _worker(seed: int, records: int) -> Verdicts:
    with own_pipeline() as pipeline:
        # Around the present: the broker stamps these records itself.
        drawn = mutants(Random(seed), datetime.now(UTC), CONSUMED)
        return asyncio.run(judge_through_workers(pipeline, islice(drawn, records)))


def _report(what: str, run: Callable[[], Verdicts]) -> bool:
    start = time.monotonic()
    try:
        verdicts = run()
    except AssertionError as failure:
        _say(f"{what}: {failure}")
        return False
    seconds = time.monotonic() - start
    _say(f"\n{what}: {seconds:.0f} s, {verdicts.records / seconds:,.0f} records/s\n{verdicts}\n")
    return not verdicts.failed


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
