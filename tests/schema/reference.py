"""The reference of the schema, docs/schema.md, from a migrated database (`python -m tests.schema.reference`)."""

import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from pydantic import SecretStr

from services.embedded.ports import free_port
from services.embedded.postgres import DATABASE, USER, PostgresServer
from services.kernel import migrations
from services.kernel.settings import DatabaseSettings
from tests.documents import ROOT
from tests.schema import catalogue
from tests.schema.sessions import session

GUIDE: Final = ROOT / "docs" / "schema.md"

_INTRODUCTION: Final = """\
# The schema

Every table and view of the database: columns, keys, indexes, and which service's role may write what. How tables come
to be, and how two versions of the services share them, stands in [the migrations' guide](../migrations/README.md), how
long rows are kept in [retention](retention.md).

Written by `make references` from a migrated database.
"""

TABLES: Final = {
    "nodes": "Every node that was ever heard of, by its identifier.",
    "node_stats_cache": "The newest reading of each node, and what it earned.",
    "node_facts": "What each source said of a node's facts; the newest of the highest rank shows in `nodes`.",
    "node_uptime": "A node's day in slots of five minutes: healthy, and seen at all.",
    "source_uptime": "A day of a source that probes health: in which slots it answered.",
    "tracker_sources": "The sources, their preferences, and what they last said of themselves.",
    "earnings_history": "GNK of a node and UTC date: the ledger's sums, rounded once.",
    "earnings_ledger": "Exact amounts in ngonka of each node, source, kind and period: the version that stands.",
    "earnings_ledger_version": "What was said of a ledger row besides what stands (all of it: `earnings_version`).",
    "earnings_node": "A node's lock, and what its history rests on (`epoch`, `day` or `total`).",
    "epoch_settlement": "When each epoch was settled: its amounts belong to that UTC date.",
    "earnings_source_order": "The order of sources that history was last projected with.",
    "source_epoch_total": "What a source says that an epoch paid to all hosts together.",
    "earnings_day_total": "GNK of a day by GPU type, region and in all.",
    "earnings_day_changed": "Dates whose daily totals are to be computed again.",
    "earnings_node_group": "The GPU type and region under which a node's days are counted.",
    "api_keys": "Who may ask the API: the SHA-256 of each secret.",
    "users": "The portal's users.",
    "user_nodes": "Which nodes belong to which user.",
    "user_nodes_before_join": "The portal's `user_nodes` as it was before Phase 2, for its rollback.",
    "node_requests": "The portal's requests for nodes.",
}
"""What a row of each table is."""

WRITERS: Final = {"node_requests": "the portal", "user_nodes_before_join": "nobody any more"}
"""Who writes the tables that no service's role may write."""

_PRIVILEGES = """
SELECT relname, grantee::regrole::text, privilege_type, NULL
FROM pg_class, aclexplode(relacl) WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
UNION ALL
SELECT relname, grantee::regrole::text, privilege_type, string_agg(attname, ', ' ORDER BY attnum)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid, aclexplode(attacl)
WHERE relnamespace = 'public'::regnamespace
GROUP BY relname, grantee, privilege_type
"""
_VERBS: Final = {"INSERT": "inserts", "UPDATE": "updates", "DELETE": "deletes"}
_VIEWS = "SELECT viewname FROM pg_views WHERE schemaname = 'public'"
_INDEXES = """
SELECT tablename, indexdef FROM pg_indexes
WHERE schemaname = 'public' AND indexname NOT IN (SELECT conname FROM pg_constraint) ORDER BY indexname
"""


def reference(connection: psycopg.Connection) -> str:
    """The document."""
    columns, constraints = catalogue.columns(connection), catalogue.constraints(connection)
    views = {name for (name,) in connection.execute(_VIEWS.encode())}
    writers = _writers(connection)
    indexes: dict[str, list[str]] = defaultdict(list)
    for table, definition in connection.execute(_INDEXES.encode()):
        kind = "unique index" if definition.startswith("CREATE UNIQUE") else "index"
        indexes[table].append(f"{kind} `{definition.partition(' USING ')[2]}`")
    lines = [_INTRODUCTION]
    for table, meaning in TABLES.items():
        lines += [f"## {table}\n", meaning, ""]
        lines += [f"Written by: {'; '.join(writers[table]) or WRITERS[table]}.", ""]
        lines += [*_columns(columns.pop(table)), ""]
        lines += [f"- `{definition}`" for definition in constraints.get(table, [])]
        lines += [f"- {definition}" for definition in indexes[table]]
        lines += [""]
    left = set(columns) - views
    assert not left, f"say in {__file__} what a row of these is: {left}"
    lines += ["## Views\n", "Sums, averages and trends are [defined on their own page](earnings-views.md).", ""]
    lines += ["| view | columns |", "|---|---|"]
    lines += [f"| `{view}` | {', '.join(_name(line) for line in columns[view])} |" for view in sorted(views)]
    return "\n".join(lines) + "\n"


def _columns(lines: list[str]) -> Iterator[str]:
    yield "| column | type | may be NULL | default |"
    yield "|---|---|---|---|"
    for line in lines:
        rest, _, default = line.partition(" default ")
        required = rest.endswith(" not null")
        kind = rest.removeprefix(_name(line)).removesuffix(" not null").strip()
        yield f"| `{_name(line)}` | {kind} | {'' if required else 'yes'} | {f'`{default}`' if default else ''} |"


def _name(line: str) -> str:
    return line.split(maxsplit=1)[0]


def _writers(connection: psycopg.Connection) -> dict[str, list[str]]:
    """Table → what each service's role may write there."""
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for table, role, privilege, columns in connection.execute(_PRIVILEGES.encode()):
        if role.startswith("minegnk_") and privilege in _VERBS:
            some = f" ({columns})" if columns else ""
            found[table, role.removeprefix("minegnk_")][privilege] = f"{_VERBS[privilege]}{some}"
    writers: dict[str, list[str]] = defaultdict(list)
    for (table, role), verbs in sorted(found.items()):
        writers[table].append(f"`{role}` {', '.join(verbs[verb] for verb in _VERBS if verb in verbs)}")
    return writers


@contextmanager
def migrated() -> Iterator[psycopg.Connection]:
    """A session in a migrated database of its own server."""
    with tempfile.TemporaryDirectory(prefix="minegnk-") as folder:
        server = PostgresServer(Path(folder), free_port())
        server.prepare()
        server.start()
        try:
            server.wait_ready()
            password = SecretStr(server.password)
            settings = DatabaseSettings(
                host="127.0.0.1", port=server.port, username=USER, password=password, database=DATABASE
            )
            migrations.apply(settings)
            with session(settings) as connection:
                yield connection
        finally:
            server.stop()


if __name__ == "__main__":
    with migrated() as its:
        sys.stdout.write(reference(its))
