"""Logs can be searched: an event has one name, and no two parts of the project use one name for two things."""

import ast
import re
from collections import defaultdict
from pathlib import Path

from tests.e2e.engine import ROOT

LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
PARTS = ("api", "cache", "cli", "earnings", "ingest", "kernel", "simulator")


def events() -> dict[str, set[str]]:
    """Names of logged events, and the packages that log them."""
    found: dict[str, set[str]] = defaultdict(set)
    for part in PARTS:
        for path in (ROOT / "services" / part).rglob("*.py"):
            for name in named_in(path):
                found[name].add(part)
    return found


def named_in(path: Path) -> list[str]:
    """The first argument of each call of a log's methods."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS):
            continue
        if re.search(r"\blog$|_log$|get_logger\(", ast.unparse(node.func.value)):
            event = node.args[0]
            assert isinstance(event, ast.Constant), f"{path}, line {node.lineno}: the event is put together"
            names.append(str(event.value))
    return names


def test_an_event_is_one_name_for_one_thing() -> None:
    found = events()
    assert len(found) > 30
    assert [name for name in found if not re.fullmatch(r"[a-z]+(_[a-z]+)*", name)] == []
    assert {name: parts for name, parts in found.items() if len(parts) > 1} == {}


def test_an_event_that_the_runbook_names_is_logged() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    named = set(re.findall(r"`([a-z_]+)` (?:in [\w '\n]*log|with\sa\straceback)", runbook))
    assert named >= {"source_poll_failed", "epoch_not_done", "server_not_read", "consumer_failed"}
    assert named <= events().keys()
