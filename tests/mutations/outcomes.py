"""A pytest plugin that writes down how each test ended, and with which exception: `--outcomes FILE`."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

TIME_LIMIT = "time limit"


class Outcome(msgspec.Struct, frozen=True):
    """How one phase (setup, call, teardown) of a test ended; `errors` are the names of the exceptions, none: passed."""

    test: str
    phase: str
    errors: tuple[str, ...] = ()
    message: str = ""


class Report(msgspec.Struct):
    """What a run of pytest did, and whose code it ran."""

    services: str
    outcomes: list[Outcome]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", type=Path, required=True, help="file for the outcomes, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Recorder(config.getoption("--outcomes")))


class _Recorder:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: list[Outcome] = []

    @pytest.hookimpl
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        if call.excinfo is None:
            self._outcomes.append(Outcome(item.nodeid, call.when))
            return
        leaves = tuple(_leaves(call.excinfo.value))
        message = str(leaves[0]).strip().partition("\n")[0]
        self._outcomes.append(Outcome(item.nodeid, call.when, tuple(map(_name, leaves)), message[:200]))

    @pytest.hookimpl
    def pytest_sessionfinish(self) -> None:
        import services

        report = Report(str(services.__file__), self._outcomes)
        self._path.write_bytes(msgspec.json.encode(report))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, or the one itself."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _name(error: BaseException) -> str:
    if isinstance(error, pytest.fail.Exception) and str(error).startswith("Timeout"):
        return TIME_LIMIT  # of pytest-timeout
    return type(error).__name__
