"""`minegnk`: one command for everything an operator does."""

import logging
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Final

import typer

from services.kernel.errors import UserError

_MODULES: Final = {
    "run": ("run",),
    "services": ("ingest", "cache", "earnings", "api", "exporter"),
    "status": ("status",),
    "doctor": ("doctor",),
    "settings": ("settings",),
    "topics": ("topics",),
    "publish": ("publish",),
    "contract": ("contract",),
    "metrics": ("metrics",),
    "schema": ("migrate", "rollback", "migrations", "migration"),
    "dlq": ("dlq",),
    "replay": ("replay",),
    "consumer": ("consumer",),
    "reconcile": ("reconcile",),
    "backfill": ("backfill",),
    "explain": ("explain",),
    "export": ("export",),
    "prune": ("prune",),
    "keys": ("keys",),
    "embedded": ("embedded",),
    "simulator": ("simulator",),
}
"""The commands that each module of this package registers, in the order of `minegnk --help`."""


def create_app(modules: Iterable[str] = _MODULES) -> typer.Typer:
    """The command with what these modules register."""
    app = typer.Typer(
        name="minegnk",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="The data side of MineGNK.",
        rich_markup_mode=None,
    )
    # One command alone would otherwise become the whole of it.
    app.callback()(lambda: None)
    for name in modules:
        import_module(f"services.cli.{name}").register(app)
    return app


def main() -> None:
    """Run the command; what a person can mend is one sentence on standard error, never a traceback."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # services set up their own logs
    try:
        create_app(_modules_for(sys.argv[1:2]))()
    except UserError as error:
        sys.stderr.write(f"minegnk: {error}\n")
        sys.exit(error.exit_code)


def _modules_for(first: list[str]) -> Iterable[str]:
    """The module of the command that is asked for, which starts three times sooner than with all; all for help."""
    return [name for name, commands in _MODULES.items() if first and first[0] in commands] or _MODULES


if __name__ == "__main__":
    main()
