"""`minegnk consumer`: partitions that a consumer has paused."""

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
