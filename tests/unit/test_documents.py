"""The documents hold: every link leads somewhere, and every command that they name exists, with its options."""

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
import typer.main
import yaml

from services.cli.main import create_app
from tests.documents import DOCUMENTS, ROOT, anchors, blocks, inline_code, links

COMMAND: Any = typer.main.get_command(create_app())
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
COMPOSE_SERVICES = set(yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"])
USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]  # of the click inside typer
SHELLS = ("", "sh", "bash", "console")
OPERATORS = re.compile(r"[();<>|&]+")
PLACE = {path: str(path.relative_to(ROOT)) for path in DOCUMENTS}


class Written(NamedTuple):
    """A command of a document, in words; one inside a sentence may leave out what it is not about."""

    words: list[str]
    whole: bool


def written(path: Path) -> Iterator[Written]:
    """Every simple command of a document's blocks and of its inline code."""
    text = path.read_text(encoding="utf-8")
    for block in blocks(text):
        if block.language in SHELLS:
            for line in block.text.replace("\\\n", " ").splitlines():
                yield from (Written(words, whole=True) for words in simple_commands(line))
    for code in inline_code(text):
        yield from (Written(words, whole=False) for words in simple_commands(code))


def simple_commands(line: str) -> Iterator[list[str]]:
    """The words between a line's operators; none of a line that is no shell's."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        for word in lexer:
            if OPERATORS.fullmatch(word):
                # `minegnk() {` is a function's beginning.
                if words and "(" not in word:
                    yield words
                words = []
            else:
                words.append(word)
    except ValueError:
        return
    if words:
        yield words


def arguments_of_minegnk(words: list[str]) -> list[str] | None:
    """What follows `minegnk`, started directly or in a container; None where it is not what is run."""
    if words[0] in ("docker", "standin.sh"):
        if "minegnk" not in words:
            return None
        words = words[words.index("minegnk") :]
    if words[0] == "kubectl":
        if "--" not in words:
            return None
        words = words[words.index("--") + 1 :]
    return words[1:] if words[0] in ("minegnk", ".venv/bin/minegnk") else None


def fault(command: Written) -> str | None:
    """Why the command line refuses these words; nothing is run."""
    words = [word.strip("[]") for word in takewhile(lambda word: word != "…", command.words)]
    found = arguments_of_minegnk(words) if words else None
    if not found:
        return None
    try:
        resolve(COMMAND, found)
    except USAGE_ERROR as error:
        about_a_value = type(error).__name__ in ("BadParameter", "MissingParameter", "BadOptionUsage")
        if about_a_value and (not command.whole or any(word.isupper() for word in found)):
            return None  # part of a command, or a word that stands for a value
        return str(error)
    return None


def resolve(command: Any, words: list[str], parent: typer.Context | None = None) -> None:
    """Parse words as the real command line does, down to the last subcommand; raises USAGE_ERROR."""
    if "--help" in words:
        words = words[: words.index("--help")]
    if hasattr(command, "resolve_command"):
        if words:
            context = typer.Context(command, parent=parent)
            _, below, rest = command.resolve_command(context, words)
            resolve(below, rest, context)
    else:
        command.make_context(command.name, list(words), parent=parent)


@pytest.mark.parametrize("path", DOCUMENTS, ids=PLACE.get)
def test_every_link_leads_somewhere(path: Path) -> None:
    dead = []
    for link in links(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=PLACE.get)
def test_every_command_of_minegnk_exists_with_its_options(path: Path) -> None:
    found = {" ".join(command.words): fault(command) for command in written(path)}
    assert {words: why for words, why in found.items() if why} == {}


@pytest.mark.parametrize("path", DOCUMENTS, ids=PLACE.get)
def test_every_target_of_make_exists(path: Path) -> None:
    named = {
        word.rstrip(",")
        for command in written(path)
        if command.words[0] == "make"
        for word in command.words[1:]
        if re.fullmatch(r"[a-z][a-z0-9-]*,?", word)
    }
    assert named - TARGETS == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=PLACE.get)
def test_every_service_of_compose_exists(path: Path) -> None:
    named = set()
    for command in written(path):
        match command.words:
            case ["docker", "compose", "exec" | "run", *rest]:
                named.add(next(word for word in rest if not word.startswith("-") and "=" not in word))
            case ["docker", "compose", "stop" | "start" | "restart", *rest]:
                named |= set(rest)
    assert named - COMPOSE_SERVICES == set()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("minegnk replai --topic readings", "No such command"),
        ("minegnk dlq lost", "No such command"),
        ("minegnk replay --topic readings --form 2d", "No such option"),
        ("minegnk replay", "Missing parameter"),
        ("docker compose exec cache minegnk status --yaml", "No such option"),
        ("kubectl exec deploy/api -- minegnk keys make portal", "No such command"),
        ("minegnk status && minegnk migrate everything", "unexpected extra argument"),
        ("minegnk keys create portal --scope everything", "is not one of"),
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str, why: str) -> None:
    faults = [fault(Written(words, whole=True)) for words in simple_commands(line)]
    assert why in str(faults)


def test_commands_are_found_among_operators() -> None:
    assert list(simple_commands('minegnk a & minegnk b --from "$(cat x)" > y')) == [
        ["minegnk", "a"],
        ["minegnk", "b", "--from", "$(cat x)"],
        ["y"],
    ]
    assert next(simple_commands("minegnk() { run; }"))[0] != "minegnk"


def test_every_page_stands_in_the_sites_navigation() -> None:
    configured = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    pages = [name for name in PLACE.values() if f'"{name}"' not in configured]
    assert pages == [], "name them under nav in zensical.toml"
