"""`minegnk`: one command for everything an operator does."""

import logging
import sys

import typer

from services.cli import (
    backfill,
    consumer,
    contract,
    dlq,
    embedded,
    explain,
    export,
    keys,
    prune,
    publish,
    push_keys,
    reconcile,
    replay,
    run,
    schema,
    simulator,
    status,
    topics,
)
from services.cli import services as running
from services.kernel.errors import UserError

app = typer.Typer(
    name="minegnk",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The data side of MineGNK.",
    rich_markup_mode=None,
)
run.register(app)
running.register(app)
status.register(app)
topics.register(app)
publish.register(app)
contract.register(app)
schema.register(app)
dlq.register(app)
replay.register(app)
consumer.register(app)
reconcile.register(app)
backfill.register(app)
explain.register(app)
export.register(app)
prune.register(app)
keys.keys_app.add_typer(push_keys.push_keys_app)
app.add_typer(keys.keys_app)
app.add_typer(embedded.embedded_app)
simulator.register(app)


def main() -> None:
    """Run the command; what a person can mend is one sentence on standard error, never a traceback."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # services set up their own logs
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"minegnk: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
