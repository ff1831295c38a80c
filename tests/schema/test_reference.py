"""docs/schema.md is what the migrations make."""

import psycopg
import pytest

from tests.schema.reference import GUIDE, reference

pytestmark = pytest.mark.integration


def test_the_reference_of_the_schema_is_current(migrated: psycopg.Connection) -> None:
    assert GUIDE.read_text(encoding="utf-8") == reference(migrated), "run make references"
