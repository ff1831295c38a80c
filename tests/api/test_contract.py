"""Some requests of each kind that the OpenAPI document allows or forbids; `make contract-api` sends thousands."""

from pathlib import Path

import pytest

from services.api.schemas import Scope
from tests.api.contract import check, some_rows
from tests.api.rows import Rows
from tests.api.server import running
from tests.integration.pipeline import Pipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_answers_are_as_the_document_says(pipeline: Pipeline, rows: Rows, tmp_path: Path) -> None:
    some_rows(rows)
    with running(pipeline, MINEGNK_API_ACCESS="keys", MINEGNK_API_RATE_LIMIT="0") as api:
        verdict = check(api, rows.key(*Scope), examples=18, folder=tmp_path, seed=1, phases="fuzzing")
        assert verdict.passed, verdict.report
        assert verdict.cases >= 180, verdict.report
        assert "unforeseen_error" not in api.log
