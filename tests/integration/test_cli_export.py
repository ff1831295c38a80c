"""`minegnk export earnings`: exact rows for an accountant, of one snapshot, in a fixed order."""

import csv
import io
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import IO, Any

import asyncpg
import pytest
from pyarrow import parquet, types

from services.cache.store import apply_source_status
from services.earnings import export
from services.earnings.export import BY_DAY, BY_PERIOD, ROWS_AT_ONCE, earnings
from services.earnings.ledger import project
from services.earnings.projection import FACTS_OF_NODES, facts_of
from services.earnings.store import apply_reports
from services.kernel.database import Database, connect_arguments
from services.kernel.events import EarningsReport, SourceStatus
from tests.integration.pipeline import REPOSITORY, Pipeline, until
from tests.integration.test_cli_commands import run
from tests.integration.test_cli_errors import closed_port, refused

pytestmark = pytest.mark.integration

DAY = datetime(2026, 3, 1, 1, tzinfo=UTC)
ALICE, BOB = "gonka1alice", "gonka1bob"
MARCH = ("--from", "2026-03-01", "--to", "2026-03-31")
ORDER = {"gonka_api": 1, "gonkascan": 2}


@pytest.fixture
async def database(pipeline: Pipeline) -> AsyncIterator[Database]:
    await pipeline.empty_tables()
    await pipeline.execute("TRUNCATE users CASCADE")
    database = Database(pipeline.database, application="export")
    async with database:
        await apply_source_status(
            database,
            [
                SourceStatus(
                    source=source,
                    kind=source,
                    reported_at=DAY,
                    preference_seconds=0,
                    earnings_order=place,
                    probes_health=False,
                    poll_interval_seconds=60,
                )
                for source, place in ORDER.items()
            ],
        )
        yield database


def report(epoch: int, amount: int, node: str = ALICE, **more: Any) -> EarningsReport:
    settled_at = DAY + timedelta(hours=22 * (epoch - 51))
    fields: dict[str, Any] = {
        "identifier": node,
        "identifier_type": "wallet",
        "source": "gonka_api",
        "kind": "epoch",
        "period": epoch,
        "amount_ngonka": amount,
        "settled_at": settled_at,
        "settled_exact": True,
        "final": True,
        "observed_at": settled_at + timedelta(hours=1),
    }
    return EarningsReport(**fields | more)


def daily(day: str, amount: int, **more: Any) -> EarningsReport:
    return report(51, amount, **{"kind": "day", "period": day, "settled_at": None, **more})


def exported(pipeline: Pipeline, *arguments: str) -> str:
    found = run(pipeline, "export", "earnings", *arguments)
    assert found.returncode == 0, found.stderr
    return found.stdout


def rows(pipeline: Pipeline, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in exported(pipeline, *arguments, "--format", "jsonl").splitlines()]


async def test_a_date_shows_what_was_billed_and_what_stands_behind_it(pipeline: Pipeline, database: Database) -> None:
    await apply_reports(
        database,
        [report(51, 48_552_031_736_575), report(52, 4, settled_exact=False), report(53, 10), report(51, 7, BOB)],
    )
    found = run(pipeline, "export", "earnings", *MARCH)
    assert found.stdout == (
        "node,display_name,date,amount_gnk,amount_ngonka,source,kind,periods,settled_at,settled_exact,final\n"
        f"{ALICE},,2026-03-01,48552.03173658,48552031736579,gonka_api,epoch,51 52,"
        "2026-03-01T01:00:00Z 2026-03-01T23:00:00Z,false,true\n"
        f"{ALICE},,2026-03-02,0.00000001,10,gonka_api,epoch,53,2026-03-02T21:00:00Z,true,true\n"
        f"{BOB},,2026-03-01,0.00000001,7,gonka_api,epoch,51,2026-03-01T01:00:00Z,true,true\n"
    ), "the pipe's text mode takes CRLF for \\n"
    assert found.stderr == (
        "3 rows of 2 nodes: 48,552.03173660 GNK, 48,552,031,736,596 ngonka in the ledger, "
        "from 2026-03-01 to 2026-03-31 (UTC, both included).\n"
    )


async def test_a_period_is_a_report_that_counts_exact_to_the_ngonka(pipeline: Pipeline, database: Database) -> None:
    await apply_reports(
        database,
        [
            report(51, 12, work_ngonka=5, reward_ngonka=7, claimed=False),
            report(51, 99, source="gonkascan"),
            report(52, 98, source="gonkascan", settled_exact=False),
            report(52, 97, final=False),
            daily("2026-03-01", 96),
        ],
    )
    first, second = rows(pipeline, *MARCH, "--by", "period")
    assert first == {
        "node": ALICE,
        "display_name": None,
        "date": "2026-03-01",
        "kind": "epoch",
        "period": "51",
        "amount_gnk": "0.000000012",
        "amount_ngonka": "12",
        "work_ngonka": "5",
        "reward_ngonka": "7",
        "claimed": False,
        "settled_at": "2026-03-01T01:00:00Z",
        "settled_exact": True,
        "source": "gonka_api",
        "final": True,
        "observed_at": "2026-03-01T02:00:00Z",
    }
    assert (second["source"], second["amount_ngonka"], second["settled_exact"]) == ("gonkascan", "98", False)


async def test_day_counters_and_a_lifetime_counters_growth_are_periods_too(
    pipeline: Pipeline, database: Database
) -> None:
    def counter(day: str, amount: int, *, final: bool) -> EarningsReport:
        return daily(day, amount, node=BOB, kind="total", final=final)

    await apply_reports(
        database,
        [
            daily("2026-03-01", 5),
            daily("2026-03-02", 6, final=False),
            counter("2026-02-27", 3, final=True),
            counter("2026-03-01", 10, final=True),
            counter("2026-03-02", 4, final=False),
        ],
    )
    found = rows(pipeline, *MARCH, "--by", "period")
    assert [(r["node"], r["kind"], r["period"], r["amount_ngonka"], r["settled_at"], r["final"]) for r in found] == [
        (ALICE, "day", "2026-03-01", "5", None, True),
        (BOB, "total", "2026-03-01", "7", None, True),
        (BOB, "total", "2026-03-02", "4", None, False),
    ]
    by_day = rows(pipeline, *MARCH)
    assert [(r["kind"], r["periods"], r["settled_at"], r["settled_exact"], r["final"]) for r in by_day] == [
        ("day", ["2026-03-01"], None, None, True),
        ("total", ["2026-03-01"], None, None, True),
        ("total", ["2026-03-02"], None, None, False),
    ]


async def test_what_counts_is_what_the_ledger_counts(database: Database) -> None:
    chance = Random(5)
    sources = ["gonka_api", "gonkascan", "mine", "zulu"]  # the last two are in nobody's order
    reports = []
    for number in range(60):
        kinds = chance.choice([["epoch"], ["day"], ["total"], ["epoch", "day", "total"], ["day", "total"]])
        for _ in range(25):
            epoch, kind = chance.randrange(40, 70), chance.choice(kinds)
            period: int | str = epoch if kind == "epoch" else f"2026-03-{chance.randrange(1, 29):02}"
            more: dict[str, Any] = {
                "kind": kind,
                "period": period,
                "source": chance.choice(sources),
                "final": chance.random() < 0.7,
            }
            if kind != "epoch":
                more["settled_at"] = None
            seen = DAY + timedelta(minutes=chance.randrange(10_000))
            reports.append(report(epoch, chance.randrange(10**15), f"gonka1n{number}", observed_at=seen, **more))
    await apply_reports(database, reports)
    first, last = date(2026, 2, 25), date(2026, 3, 20)

    async with database.connection() as connection, connection.transaction():
        names = {r["id"]: r["identifier"] for r in await connection.fetch("SELECT id, identifier FROM nodes")}
        facts = facts_of(await connection.fetch(FACTS_OF_NODES, list(names)))
        history = await connection.fetch("SELECT node_id, date, earnings_gnk FROM earnings_history")
        periods = [row async for batch in earnings(connection, BY_PERIOD, None, first, last) for row in batch]
        days = [row async for batch in earnings(connection, BY_DAY, None, first, last) for row in batch]

    expected = {
        (names[node], day): amount.amount
        for (node, day), amount in project(facts, lambda source: ORDER.get(source, 100)).items()
        if first <= day <= last
    }
    assert len(expected) > 300
    summed: dict[tuple[str, date], int] = defaultdict(int)
    for row in periods:
        summed[row["identifier"], row["date"]] += int(row["amount_ngonka"])
    assert summed == expected
    assert {(row["identifier"], row["date"]): int(row["amount_ngonka"]) for row in days} == expected
    billed = {(names[row[0]], row[1]): row[2] for row in history if first <= row[1] <= last}
    assert {(row["identifier"], row["date"]): row["earnings_gnk"] for row in days} == billed
    assert not any(row["differs"] for row in days)
    for found in (periods, days):
        keys = [(row["identifier"].encode(), row["date"]) for row in found]
        assert keys == sorted(keys)


async def test_both_dates_are_included_and_no_other(pipeline: Pipeline, database: Database) -> None:
    await apply_reports(database, [report(51 + n, 1, settled_at=DAY + timedelta(days=n)) for n in range(5)])
    for grain in ("day", "period"):
        found = rows(pipeline, "--from", "2026-03-02", "--to", "2026-03-04", "--by", grain)
        assert [row["date"] for row in found] == ["2026-03-02", "2026-03-03", "2026-03-04"]
        assert len(rows(pipeline, "--from", "2026-03-05", "--to", "2026-03-05", "--by", grain)) == 1


async def test_rows_that_are_not_what_the_ledger_gives_are_shown_and_told(
    pipeline: Pipeline, database: Database
) -> None:
    await apply_reports(database, [report(51, 10), report(54, 10)])
    await pipeline.execute("UPDATE earnings_history SET earnings_gnk = 2 WHERE date = '2026-03-01'")
    await pipeline.execute(
        "INSERT INTO earnings_history (node_id, date, earnings_gnk, source) SELECT id, '2026-03-05', 1, 'x' FROM nodes"
    )
    found = run(pipeline, "export", "earnings", *MARCH, "--format", "jsonl")
    first, _, last = map(json.loads, found.stdout.splitlines())
    assert (first["amount_gnk"], first["amount_ngonka"]) == ("2.00000000", "10"), "history is what was billed"
    assert last == dict.fromkeys(first) | {
        "node": ALICE,
        "date": "2026-03-05",
        "amount_gnk": "1.00000000",
        "source": "x",
    }
    assert "2 rows not what the ledger gives: run `minegnk reconcile`" in found.stderr


async def test_nodes_and_a_users_nodes_are_picked(pipeline: Pipeline, database: Database) -> None:
    await apply_reports(database, [report(51, 1, node) for node in ("gonka1c", BOB, ALICE)])
    await pipeline.execute(f"""
        INSERT INTO users (id, email) VALUES ('6f1c1c1e-0000-4000-8000-00000000000a', 'Anna@Example.org'),
            (uuid_generate_v4(), 'none@example.org'), (uuid_generate_v4(), 'two@example.org'),
            (uuid_generate_v4(), 'Two@example.org');
        INSERT INTO user_nodes (user_id, node_id) SELECT users.id, nodes.id FROM users, nodes
        WHERE email LIKE 'Anna%' AND identifier IN ('{ALICE}', '{BOB}');
    """)

    def nodes(*arguments: str) -> list[str]:
        return [row["node"] for row in rows(pipeline, *MARCH, *arguments)]

    assert nodes() == [ALICE, BOB, "gonka1c"]
    assert nodes("--node", "gonka1c", "--node", ALICE, "--node", ALICE) == [ALICE, "gonka1c"]
    assert nodes("--user", "anna@example.org", "--by", "period") == [ALICE, BOB]
    assert nodes("--user", "6F1C1C1E-0000-4000-8000-00000000000A") == [ALICE, BOB]
    nothing = run(pipeline, "export", "earnings", *MARCH, "--user", "none@example.org")
    assert (nothing.returncode, nothing.stdout.count("\n")) == (0, 1)
    assert nothing.stderr.startswith("0 rows of 0 nodes: 0 GNK")
    assert "Several users have the address two@example.org" in refused(
        pipeline, "export", "earnings", *MARCH, "--user", "two@example.org"
    )


async def test_csv_protects_a_spreadsheet_from_names_and_other_formats_leave_them(
    pipeline: Pipeline, database: Database
) -> None:
    await apply_reports(database, [report(51, 1, "=cmd|a!A1", identifier_type="node_id")])
    await pipeline.execute("""UPDATE nodes SET display_name = '=HYPERLINK("http://example.org","x"), Ærø'""")
    (line,) = csv.DictReader(io.StringIO(exported(pipeline, *MARCH)))
    assert (line["node"], line["display_name"]) == ("'=cmd|a!A1", """'=HYPERLINK("http://example.org","x"), Ærø""")
    (row,) = rows(pipeline, *MARCH)
    assert (row["node"], row["display_name"]) == ("=cmd|a!A1", '=HYPERLINK("http://example.org","x"), Ærø')


@pytest.mark.parametrize("grain", ["day", "period"])
async def test_parquet_holds_the_same_as_exact_decimals(
    pipeline: Pipeline, database: Database, tmp_path: Path, grain: str
) -> None:
    await apply_reports(database, [report(51, 48_552_031_736_575), report(52, 4), daily("2026-03-01", 5, node=BOB)])
    path = tmp_path / "march.parquet"
    exported(pipeline, *MARCH, "--by", grain, "--format", "parquet", "--output", str(path))
    table = parquet.read_table(path)
    amount = table.schema.field("amount_gnk").type
    assert (amount.precision, amount.scale) == ((20, 8) if grain == "day" else (38, 9))
    assert types.is_decimal128(table.schema.field("amount_ngonka").type)
    plain = [
        {name: f"{value:f}" if isinstance(value, Decimal) else _json(value) for name, value in row.items()}
        for row in table.to_pylist()
    ]
    assert plain == rows(pipeline, *MARCH, "--by", grain)


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return [_json(each) for each in value]
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, date) else value


async def test_a_file_is_replaced_in_one_step_and_stays_when_the_database_is_lost(
    pipeline: Pipeline, database: Database, tmp_path: Path
) -> None:
    await apply_reports(database, [report(51, 1)])
    path, link = tmp_path / "march.csv", tmp_path / "link.csv"
    link.symlink_to(path)
    path.write_text("of before")
    async with database.connection() as other, other.transaction():
        await other.execute("LOCK TABLE earnings_history")
        process = started(pipeline, *MARCH, "--output", str(path))
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        await until(lambda: pipeline.rows(waiting), "the export waits for the table")
        assert len(files_in(tmp_path)) == 3, "it is being written beside"
        await pipeline.execute(f"SELECT pg_terminate_backend(pid) FROM ({waiting}) AS waiting")
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said.count("\n"), "Traceback" in said) == (3, 1, False), said
    assert "cannot be reached" in said
    assert path.read_text() == "of before"
    assert files_in(tmp_path) == [link, path]

    exported(pipeline, *MARCH, "--output", str(link))
    assert path.read_text().startswith("node,")
    assert link.is_symlink()
    assert files_in(tmp_path) == [link, path]


def started(pipeline: Pipeline, *arguments: str, to: int | IO[str] = subprocess.PIPE) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "services", "export", "earnings", *arguments],
        env=pipeline.environment(),
        cwd=REPOSITORY,
        stdout=to,
        stderr=subprocess.PIPE,
        text=True,
    )


def files_in(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


async def many(pipeline: Pipeline) -> int:
    """More rows than are read, or than a pipe takes, at once."""
    count = 2 * ROWS_AT_ONCE + 1
    await pipeline.execute(f"""
        INSERT INTO nodes (identifier, identifier_type) VALUES ('{ALICE}', 'wallet');
        INSERT INTO earnings_history (node_id, date, earnings_gnk, source)
        SELECT id, date '2000-01-01' + day, 1, 'x' FROM nodes, generate_series(0, {count - 1}) AS day;
    """)
    return count


async def test_all_rows_are_of_one_moment_and_few_are_held_at_a_time(pipeline: Pipeline, database: Database) -> None:
    count = await many(pipeline)
    sizes: list[int] = []
    total = Decimal(0)
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        async for batch in export.earnings(connection, BY_DAY, None, date(2000, 1, 1), date(2099, 1, 1)):
            if not sizes:
                await pipeline.execute("UPDATE earnings_history SET earnings_gnk = 7; DELETE FROM nodes")
            sizes.append(len(batch))
            total += sum(row["earnings_gnk"] for row in batch)
    assert sizes == [ROWS_AT_ONCE, ROWS_AT_ONCE, 1]
    assert total == count


async def test_a_reader_that_has_enough_ends_the_export_quietly(pipeline: Pipeline, database: Database) -> None:
    await many(pipeline)
    process = started(pipeline, "--from", "2000-01-01", "--to", "2099-01-01")
    assert process.stdout
    assert process.stdout.readline().startswith("node,")
    process.stdout.close()
    assert process.stderr
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=30) == 1


def test_a_full_disk_is_one_sentence(pipeline: Pipeline, database: Database) -> None:
    with Path("/dev/full").open("w") as full:
        process = started(pipeline, *MARCH, to=full)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said == "minegnk: Standard output cannot be written (No space left on device): choose another --output.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "2026-03-02", "--to", "2026-03-01"], "--from 2026-03-02 is after --to 2026-03-01"),
        (["--from", "1.3.2026", "--to", "2026-03-01"], "'1.3.2026' is no date: write it like 2026-03-01"),
        (["--from", "2026-03-01", "--to", "2026-02-30"], "'2026-02-30' is no date"),
        ([*MARCH, "--node", ALICE, "--node", "gonka1nobody"], "No node gonka1nobody is known"),
        ([*MARCH, "--user", "nobody@example.org"], "No user nobody@example.org is known"),
        ([*MARCH, "--user", "x", "--node", ALICE], "Give either --node or --user"),
        ([*MARCH, "--output", "/nowhere/march.csv"], "/nowhere/march.csv cannot be written (No such file"),
        ([*MARCH, "--output", "/dev/null"], "/dev/null is no file"),
        ([*MARCH, "--format", "parquet"], "Parquet cannot be streamed: name a file with --output"),
    ],
)
async def test_what_is_wrong_is_one_sentence(
    pipeline: Pipeline, database: Database, arguments: list[str], said: str
) -> None:
    await apply_reports(database, [report(51, 1)])
    assert said in refused(pipeline, "export", "earnings", *arguments)


def test_without_a_database_or_its_tables_it_says_what_to_do(pipeline: Pipeline) -> None:
    port = closed_port()
    assert f"PostgreSQL at 127.0.0.1:{port} cannot be reached" in refused(
        pipeline, "export", "earnings", *MARCH, DB_PORT=port
    )
    for more in ([], ["--node", ALICE], ["--user", "a@example.org"]):
        assert "run `minegnk migrate`" in refused(pipeline, "export", "earnings", *MARCH, *more, DB_DATABASE="postgres")


def test_without_pyarrow_parquet_says_what_to_install_and_csv_works(
    pipeline: Pipeline, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError")
    output = tmp_path / "march.parquet"
    arguments = ["export", "earnings", *MARCH, "--output", str(output)]
    sentence = refused(pipeline, *arguments, "--format", "parquet", PYTHONPATH=str(tmp_path))
    assert "install minegnk[parquet]" in sentence
    assert not output.exists()


async def test_an_empty_list_of_nodes_is_not_every_node(pipeline: Pipeline, database: Database) -> None:
    await apply_reports(database, [report(51, 1)])
    connection = await asyncpg.connect(**connect_arguments(pipeline.database))
    try:
        async with connection.transaction():
            found = [batch async for batch in earnings(connection, BY_DAY, [], date(2026, 3, 1), date(2026, 3, 1))]
        assert found == [], "no nodes are no nodes, not all"
    finally:
        await connection.close()
