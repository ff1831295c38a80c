"""`python -m tests.soak --minutes 20 --rate 5000`: a steady load, and a verdict on what grows."""

import argparse
import asyncio
import sys
from pathlib import Path

from tests.soak.soak import Plan, soak
from tests.standalone import own_pipeline

_WARM_UP_SECONDS = 120.0


def main() -> int:
    """Run it; the exit code is 1 when something grew, was lost or is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20, help="length of the load, warm-up included")
    parser.add_argument("--rate", type=int, default=5000, help="records a second")
    parser.add_argument("--report", type=Path, help="file for all figures, as JSON")
    arguments = parser.parse_args()
    seconds = arguments.minutes * 60
    plan = Plan(seconds, arguments.rate, warm_up=min(_WARM_UP_SECONDS, seconds / 4))
    with own_pipeline() as pipeline:
        try:
            report = asyncio.run(soak(pipeline, plan))
        except AssertionError as failure:
            sys.stdout.write(f"{failure}\nFAILED\n")
            return 1
    if arguments.report:
        arguments.report.write_text(report.to_json(), encoding="utf-8")
    sys.stdout.write(f"{report}\n")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
