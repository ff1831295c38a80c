"""A new migration takes nothing away that the released version uses (migrations/README.md)."""

import re

import pytest

from services.kernel.schema_version import FOLDER

LAST_RELEASED = 18
"""The newest migration of the last release: later ones must suit that release too. Raised with each release."""

# What is dropped: tables, columns, views, functions, types.
_TAKES_AWAY = re.compile(
    r"""
      \bDROP \s+ (?!INDEX|TRIGGER|NOT\ NULL|DEFAULT|CONSTRAINT|EXTENSION)\w+
    | \bRENAME \b
    | \bALTER \s+ (COLUMN \s+)? "?\w+"? \s+ (SET \s+ DATA \s+)? TYPE \b
    | \bSET \s+ NOT \s+ NULL \b
    | \bREVOKE \b
    | \bTRUNCATE \b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_REASON = re.compile(r"^-- contracts: \S+ .+", re.MULTILINE)

NEW = [
    path
    for path in sorted(FOLDER.glob("*.sql"))
    if int(path.name[:4]) > LAST_RELEASED and not path.name.endswith(".rollback.sql")
]


def taken_away(text: str) -> list[str]:
    """The statements of a migration that the version before may stumble over; none where it gives its reason."""
    return [] if _REASON.search(text) else [found[0] for found in _TAKES_AWAY.finditer(_COMMENTS.sub("", text))]


def test_the_marked_migration_exists() -> None:
    assert len(list(FOLDER.glob(f"{LAST_RELEASED:04}.*.sql"))) == 2


def test_no_new_migration_takes_anything_away() -> None:
    found = {path.name: taken_away(path.read_text(encoding="utf-8")) for path in NEW}
    assert {name: statements for name, statements in found.items() if statements} == {}


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE node_facts;",
        "ALTER TABLE nodes DROP COLUMN region;",
        "ALTER TABLE nodes RENAME COLUMN region TO place;",
        "ALTER TABLE nodes RENAME TO hosts;",
        "ALTER TABLE nodes ALTER COLUMN region TYPE text;",
        "ALTER TABLE nodes ALTER region SET DATA TYPE text;",
        "ALTER TABLE nodes ALTER COLUMN region SET NOT NULL;",
        "drop view earnings_epochs;",
        "DROP FUNCTION gnk_of_ngonka(numeric);",
        "REVOKE SELECT ON nodes FROM minegnk_api;",
    ],
)
def test_what_takes_something_away_is_found_unless_it_gives_its_reason(statement: str) -> None:
    assert taken_away(f"-- What this gives.\n{statement}") != []
    assert taken_away(f"-- What this gives.\n-- contracts: 0019 nothing reads it since\n{statement}") == []


def test_what_only_adds_is_let_through() -> None:
    assert taken_away("-- DROP TABLE is not meant\nALTER TABLE nodes ADD COLUMN zone text;") == []
    assert taken_away("DROP INDEX CONCURRENTLY IF EXISTS idx; ALTER TABLE nodes ALTER zone DROP NOT NULL;") == []
