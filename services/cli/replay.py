"""`minegnk replay`: apply a range of a topic again."""

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
