"""`python -m tests.mutations [NAME ...] [--list]`: each guarantee broken on purpose, and the test that turns red."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.mutation import REPOSITORY, Mutation
from tests.mutations.runner import Color, Verdict, copy_of, not_green, run

_WIDTH_OF_A_FILE = 200


def main() -> int:
    """Run them; the exit code is 1 when a guarantee turned out to be untested, or a test was red for another reason."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutations to run (default: all)")
    parser.add_argument("--list", action="store_true", help="only say what would be run")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {mutation.name for mutation in MUTATIONS}:
        parser.error(f"no mutation is called {', '.join(sorted(unknown))}: see --list")
    chosen = [mutation for mutation in MUTATIONS if not arguments.names or mutation.name in arguments.names]
    if arguments.list:
        _print(chosen, [])
        return 0
    with copy_of(REPOSITORY) as snapshot:  # work on the project may go on meanwhile
        return _run(chosen, snapshot)


def _run(chosen: Sequence[Mutation], snapshot: Path) -> int:
    _say(f"Unmutated, the {len({mutation.test for mutation in chosen})} named tests have to be green ...")
    if failures := not_green(chosen, snapshot):
        _say("\n".join(["Without any mutation:", *failures]))
        return 1
    verdicts = []
    for mutation in chosen:
        start = time.monotonic()
        color, why = run(mutation, snapshot)
        verdicts.append(Verdict(color, why, time.monotonic() - start))
        _say(f"{color.value:11} {mutation.name}")
    _print(chosen, verdicts)
    bad = [verdict for verdict in verdicts if verdict.color is not Color.RED]
    _say(
        f"FAILED: {len(bad)} of {len(verdicts)} did not turn their test red" if bad else f"{len(verdicts)} red: passed"
    )
    return 1 if bad else 0


def _print(mutations: Sequence[Mutation], verdicts: Sequence[Verdict]) -> None:
    table = Table("mutation", "the guarantee it breaks", "test", show_lines=True)
    table.columns[0].no_wrap = True
    table.columns[2].overflow = "fold"
    rows = [[mutation.name, mutation.guarantee, mutation.test] for mutation in mutations]
    if verdicts:
        table.add_column("result")
        table.add_column("seconds", justify="right")
        for row, verdict in zip(rows, verdicts, strict=True):
            row += [f"{verdict.color.value}: {verdict.why}", f"{verdict.seconds:.1f}"]
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_OF_A_FILE
    console.print(table)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
