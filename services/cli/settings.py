"""`minegnk settings`: every variable that sets something up, from the classes that read them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from rich.table import Table
from rich.text import Text

from services.cli.schema import EnvironmentSettings
from services.cli.terminal import console
from services.kernel import settings

_INTRODUCTION: Final = """\
# Configuration

Services and commands take their settings from environment variables, and from nowhere else; the trackers stand in the
file that `MINEGNK_SOURCES_FILE` names ([following another tracker](trackers.md)). Nothing has to be set for a
PostgreSQL and a Kafka on the same machine. A value that does not fit ends the process with a sentence that names the
variable. A secret may also come from a file: `NAME_FILE` instead of `NAME`. `minegnk settings` shows what is set, and
`minegnk doctor` whether it works. The variables of the compose file are explained in `.env.example`.

Written by `make references` from the code.
"""
_WORDS: Final[dict[type, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    timedelta: "seconds",
    Path: "path",
    SecretStr: "secret",
}


class Variable(NamedTuple):
    """A variable: what it may hold, what holds without it (None: nothing), and what it means."""

    name: str
    kind: str
    default: str | None
    meaning: str
    secret: bool


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("settings")
    def show_settings(
        markdown: Annotated[bool, typer.Option("--markdown", help="The reference, as docs/configuration.md.")] = False,
    ) -> None:
        """List every variable with its value here, its default and its meaning; secrets are not shown."""
        if markdown:
            typer.echo(reference(), nl=False)
            return
        table = Table("variable", "set to", "default", "meaning")
        for kind in kinds():
            for variable in variables(kind):
                value = os.environ.get(variable.name, "")
                shown = "(a secret)" if value and variable.secret else value
                table.add_row(*map(Text, (variable.name, shown, variable.default or "", variable.meaning)))
        console().print(table)


def kinds() -> list[type[BaseSettings]]:
    """Every class of settings, in the order of their definition."""
    found = [*(kind for kind in vars(settings).values() if _is_ours(kind)), EnvironmentSettings]
    with suppress(ModuleNotFoundError):  # of the extra `embedded`: what it sets up is not there either
        found.append(import_module("services.embedded.jars").DownloadSettings)
    return found


def variables(kind: type[BaseSettings]) -> Iterator[Variable]:
    """The variables of a class of settings."""
    prefix = kind.model_config.get("env_prefix", "")
    for name, field in kind.model_fields.items():
        secret = SecretStr in _types(field.annotation)
        yield Variable(f"{prefix}{name}".upper(), _kind(field), _default(field), field.description or "", secret)


def reference() -> str:
    """All of them as a document."""
    return "\n".join([_INTRODUCTION, *(line for kind in kinds() for line in _section(kind))])


def _section(kind: type[BaseSettings]) -> Iterator[str]:
    title, _, _ = (kind.__doc__ or kind.__name__).partition("\n")
    yield f"## {title.partition(':')[0].rstrip('.')}\n"
    yield "| variable | value | default | meaning |"
    yield "|---|---|---|---|"
    for variable in variables(kind):
        default = "" if variable.default is None else f"`{variable.default}`"
        cells = (f"`{variable.name}`", variable.kind, default, variable.meaning)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _is_ours(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseSettings) and kind.__module__ == settings.__name__


def _types(annotation: Any) -> list[Any]:
    """The types of an annotation, without None."""
    if get_origin(annotation) in (Union, UnionType):
        return [kind for part in get_args(annotation) for kind in _types(part)]
    return [] if annotation is type(None) else [annotation]


def _kind(field: FieldInfo) -> str:
    (kind,) = _types(field.annotation)
    if get_origin(kind) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(kind))
    word = _WORDS.get(kind, str(kind))
    bounds = {name: _plain(bound) for name, bound in _bounds(field)}
    match bounds.get("ge"), bounds.get("le"):
        case (None, None):
            length = bounds.get("min_length")
            return word if length is None else f"{word}, {length} characters or more"
        case (low, None):
            return f"{word}, {low} or more"
        case (None, high):
            return f"{word}, {high} or less"
        case (low, high):
            return f"{word}, {low} to {high}"


def _bounds(field: FieldInfo) -> Iterator[tuple[str, Any]]:
    for constraint in field.metadata:
        for name in ("ge", "le", "min_length"):
            if (bound := getattr(constraint, name, None)) is not None:
                yield name, bound


def _default(field: FieldInfo) -> str | None:
    if field.is_required() or field.default is None or field.default == "":
        return None
    return _plain(field.default)


def _plain(value: Any) -> str:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}"
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
