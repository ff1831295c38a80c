"""Running a mutation's test on a mutated copy of the project, and judging how it ended.

A test that is red for the wrong reason (it does not import, a fixture fails, a time limit) has not seen the broken
guarantee: only a failed assertion, or the exception that the mutation names, counts.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.mutations.mutation import Mutation, NotApplicableError
from tests.mutations.outcomes import Outcome, Report

_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".minegnk", ".env", ".*_cache", ".hypothesis", "__pycache__")
_TEST_SECONDS = 100
_RUN_SECONDS = 240
_BASELINE_SECONDS = 1800


class Color(Enum):
    """How a mutation ended."""

    RED = "red"  # as it should: the named test noticed
    GREEN = "GREEN"  # the guarantee is not tested
    OTHER = "NO VERDICT"  # the mutation did not apply, or the test did not get to judge it


class Verdict(NamedTuple):
    """How a mutation ended, why, and how long it took."""

    color: Color
    why: str
    seconds: float


class Run(NamedTuple):
    """One run of pytest; no report: it did not end, or not in order."""

    exit_code: int | None
    report: Report | None


def run(mutation: Mutation, source: Path) -> tuple[Color, str]:
    """Apply the mutation to a copy of the project, and judge what its test says of that."""
    with copy_of(source) as project:
        try:
            mutation.apply(project)
        except NotApplicableError as error:
            return Color.OTHER, str(error)
        return judge(mutation, run_tests(project, [mutation.test], _RUN_SECONDS))


def not_green(mutations: Sequence[Mutation], source: Path) -> list[str]:
    """What keeps the named tests from being green without any mutation; empty: nothing does."""
    tests = sorted({mutation.test for mutation in mutations})
    with copy_of(source) as project:
        exit_code, report = run_tests(project, tests, _BASELINE_SECONDS)
    if report is None:
        return [f"pytest did not end in order (exit code {exit_code})"]
    failed = [
        f"{outcome.test}: {', '.join(outcome.errors)}: {outcome.message}"
        for outcome in report.outcomes
        if outcome.errors
    ]
    ran = {outcome.test for outcome in report.outcomes if outcome.phase == "call"}
    return failed + [f"{test}: did not run" for test in tests if test not in ran]


def judge(mutation: Mutation, run: Run) -> tuple[Color, str]:
    """The verdict on a run of the mutation's test."""
    if run.report is None:
        return Color.OTHER, f"pytest did not end in order (exit code {run.exit_code})"
    calls = [outcome for outcome in run.report.outcomes if outcome.phase == "call"]
    if not calls:
        return Color.OTHER, f"the test did not run (exit code {run.exit_code}){_said(run.report.outcomes)}"
    if noticed := [outcome for outcome in calls if mutation.fails_with in outcome.errors]:
        return Color.RED, noticed[0].message or mutation.fails_with
    if any(outcome.errors for outcome in run.report.outcomes):
        return Color.OTHER, f"it failed for another reason{_said(run.report.outcomes)}"
    return Color.GREEN, "the test passed"


def _said(outcomes: Sequence[Outcome]) -> str:
    return "".join(f"; {each.phase}: {', '.join(each.errors)}: {each.message}" for each in outcomes if each.errors)


@contextmanager
def copy_of(source: Path) -> Iterator[Path]:
    """A copy of the project without what is made of it; gone after the block."""
    with tempfile.TemporaryDirectory(prefix="minegnk-mutation-") as folder:
        project = Path(folder, "project")
        shutil.copytree(source, project, ignore=_LEFT_OUT)
        yield project


def run_tests(project: Path, tests: Sequence[str], seconds: float) -> Run:
    """Run the tests in the copy, on the copy's code, also in the processes that they start."""
    # Before the installed package, which is the working tree. No bytecode: a mutated file may be as old and as long.
    environment = {**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    path = project.parent / "outcomes.json"
    plugins = ["-p", "no:cacheprovider", "-p", "tests.mutations.outcomes", "--outcomes", str(path)]
    options = ["-q", "-o", "addopts=--strict-markers --strict-config", f"--timeout={_TEST_SECONDS}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *plugins, *options, *tests],
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        exit_code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        exit_code = None
    finally:
        with suppress(ProcessLookupError):  # whatever is left of it; its servers end with it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if exit_code is None or not path.is_file():
        return Run(exit_code, None)
    report = msgspec.json.decode(path.read_bytes(), type=Report)
    assert Path(report.services).is_relative_to(project), f"not the copy's code was tested: {report.services}"
    return Run(exit_code, report)
