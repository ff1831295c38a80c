"""`minegnk embedded`: PostgreSQL and Kafka in a folder, without containers."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from services.kernel.errors import UnavailableError

embedded_app = typer.Typer(
    name="embedded", no_args_is_help=True, help="PostgreSQL and Kafka in a folder, without containers."
)

Directory = Annotated[Path, typer.Option("--dir", file_okay=False, help="the folder of their data, ports and logs")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(embedded_app)


@embedded_app.command("start")
def start_command(
    directory: Directory,
    with_parent: Annotated[
        int | None,
        typer.Option("--with-parent", metavar="PID", help="end with this process, even after a kill -9 of it"),
    ] = None,
) -> None:
    """Start both, wait until they serve, print the settings that point services at them as NAME=value lines."""
    _print(_runtime().start(directory, with_parent=with_parent, on_progress=_say).environment())


@embedded_app.command("stop")
def stop_command(directory: Directory) -> None:
    """Stop both; it is no error when they do not run."""
    _say("stopped" if _runtime().stop(directory) else "was not running")


@embedded_app.command("status")
def status_command(directory: Directory) -> None:
    """Print the settings of running servers; exit code 1 when they do not run."""
    endpoints = _runtime().status(directory)
    if endpoints is None:
        _say("not running")
        raise typer.Exit(1)
    _print(endpoints.environment())


def _runtime() -> ModuleType:
    # Only these commands need the extra; an image of a service does without.
    try:
        from services.embedded import runtime  # noqa: PLC0415
    except ModuleNotFoundError:
        raise UnavailableError("Run `pip install 'minegnk[embedded]'`: the embedded servers are an extra.") from None
    return runtime


def _print(environment: dict[str, str]) -> None:
    for name, value in environment.items():
        sys.stdout.write(f"{name}={value}\n")


def _say(text: str) -> None:
    # Not on standard output, which is for the settings only.
    sys.stderr.write(f"{text}\n")
