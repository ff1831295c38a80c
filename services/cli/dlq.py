"""`minegnk dlq`: dead letters as an operator uses them."""

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
