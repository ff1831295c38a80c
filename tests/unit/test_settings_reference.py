"""docs/configuration.md is what the settings' classes say, and `minegnk settings` shows no secret."""

import re

import pytest
from typer.testing import CliRunner

from services.cli.main import create_app
from services.cli.settings import kinds, reference, variables
from tests.documents import ROOT


def test_the_reference_of_the_configuration_is_current() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == reference(), "run make references"


def test_every_variable_has_a_meaning_and_a_name_of_its_own() -> None:
    every = [variable for kind in kinds() for variable in variables(kind)]
    assert len({variable.name for variable in every}) == len(every)
    assert [variable.name for variable in every if not variable.meaning] == []


def test_every_variable_that_the_documents_name_exists() -> None:
    every = [variable for kind in kinds() for variable in variables(kind)]
    known = {variable.name for variable in every} | {f"{variable.name}_FILE" for variable in every if variable.secret}
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {name for path in documents for name in re.findall(r"\bMINEGNK_[A-Z_]+\b", path.read_text("utf-8"))}
    of_compose = set(re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text("utf-8"), flags=re.MULTILINE))
    assert named - known - of_compose == set()


def test_a_secret_that_is_set_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "not-for-everybody")
    monkeypatch.setenv("DB_HOST", "somewhere")
    shown = CliRunner().invoke(create_app(["settings"]), ["settings"])
    assert shown.exit_code == 0
    assert "somewhere" in shown.output
    assert "(a secret)" in shown.output
    assert "not-for-everybody" not in shown.output
