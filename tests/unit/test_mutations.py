"""The mutations still fit the code, and what their runner makes of a test's end."""

from pathlib import Path

import pytest

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.mutation import REPOSITORY, Mutation, NotApplicableError, names_a_test
from tests.mutations.outcomes import TIME_LIMIT, Outcome, Report
from tests.mutations.runner import Color, Run, judge, run_tests

MUTATION = Mutation("one", "One is one.", "one.py", "= 1\n", "= 2\n", "test_one.py::test_one")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_applies_once_changes_something_and_names_a_test(mutation: Mutation) -> None:
    source = (REPOSITORY / mutation.file).read_text(encoding="utf-8")
    mutated = mutation.applied(source)
    assert mutated != source
    if mutation.file.endswith(".py"):
        compile(mutated, mutation.file, "exec")
    assert names_a_test(mutation.test), f"{mutation.test} does not exist"


def test_every_mutation_has_a_name_of_its_own() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("source", ["a = 2\n", "a = 1\nb = 1\n"])
def test_a_text_that_does_not_stand_there_once_is_an_error(source: str) -> None:
    with pytest.raises(NotApplicableError, match="not once"):
        MUTATION.applied(source)


def ended(*outcomes: Outcome, exit_code: int = 1) -> Run:
    return Run(exit_code, Report("services/__init__.py", list(outcomes)))


def phase(name: str, *errors: str) -> Outcome:
    return Outcome(MUTATION.test, name, errors)


@pytest.mark.parametrize(
    ("run", "color"),
    [
        (ended(phase("setup"), phase("call", "AssertionError"), phase("teardown")), Color.RED),
        (ended(phase("setup"), phase("call", "AssertionError"), phase("teardown", "RuntimeError")), Color.RED),
        (ended(phase("setup"), phase("call", "KeyError", "AssertionError"), phase("teardown")), Color.RED),
        (ended(phase("setup"), phase("call"), phase("teardown"), exit_code=0), Color.GREEN),
        (ended(phase("setup"), phase("call", "ImportError"), phase("teardown")), Color.OTHER),
        (ended(phase("setup"), phase("call", TIME_LIMIT), phase("teardown")), Color.OTHER),
        (ended(phase("setup"), phase("call"), phase("teardown", "AssertionError")), Color.OTHER),
        (ended(phase("setup", "AssertionError"), phase("teardown")), Color.OTHER),
        (ended(exit_code=4), Color.OTHER),
        (Run(None, None), Color.OTHER),
    ],
)
def test_only_the_tests_own_failed_assertion_is_red(run: Run, color: Color) -> None:
    assert judge(MUTATION, run)[0] is color


def test_a_copys_code_wins_over_the_installed_in_tests_and_in_the_processes_they_start(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for package in ("services", "tests/mutations"):
        (project / package).mkdir(parents=True)
    for file in ("pyproject.toml", "tests/__init__.py", "tests/mutations/__init__.py", "tests/mutations/outcomes.py"):
        (project / file).write_text((REPOSITORY / file).read_text(encoding="utf-8"), encoding="utf-8")
    (project / "services/__init__.py").write_text('OURS = "copy"\n', encoding="utf-8")
    (project / "services/__main__.py").write_text("import services\nprint(services.OURS)\n", encoding="utf-8")
    (project / "tests/test_whose.py").write_text(
        "import subprocess, sys\n"
        "import services\n"
        "def test_whose(tmp_path):\n"
        '    command = [sys.executable, "-m", "services"]\n'
        "    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout\n"
        '    assert (services.OURS, said) == ("copy", "copy\\n")\n'
        "def test_group():\n"
        '    raise ExceptionGroup("tasks", [KeyError("no"), AssertionError("one is two")])\n',
        encoding="utf-8",
    )
    exit_code, report = run_tests(project, ["tests/test_whose.py"], 60)
    assert report is not None
    calls = [(outcome.errors, outcome.message) for outcome in report.outcomes if outcome.phase == "call"]
    assert calls == [((), ""), (("KeyError", "AssertionError"), "'no'")]
    assert exit_code == 1
