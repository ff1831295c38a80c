"""What outlives its limit goes, in small transactions and by one worker at a time; nothing else does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import faust
import pytest
from prometheus_client import CollectorRegistry

import services.cache.app
import services.earnings.app
from services.cache.retention import UPTIME_DAYS, prune_uptime
from services.earnings import retention
from services.earnings.retention import VERSION_DAYS, prune_versions
from services.earnings.store import apply_reports
from services.kernel import pruning
from services.kernel.app import faust_app
from services.kernel.database import Connection, Database
from services.kernel.events import EarningsReport
from services.kernel.pruning import Pruned, duty, schedule_pruning
from services.kernel.settings import ConsumerSettings, ServiceSettings, load
from tests.integration.pipeline import Pipeline, until
from tests.integration.test_cli_commands import run
from tests.integration.test_cli_errors import closed_port, refused

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)
DAY = datetime(2026, 3, 1, 1, tzinfo=UTC)
LAST_KEPT = NOW.date() - timedelta(days=UPTIME_DAYS)
SINCE = NOW.date() - timedelta(days=VERSION_DAYS)
LONG_AGO = datetime(SINCE.year, SINCE.month, SINCE.day, tzinfo=UTC) - timedelta(microseconds=1)
EVERY_SECOND = "* * * * * *"
WITHOUT_PAGES = ServiceSettings.model_validate({"metrics_port": 0})


async def uptime(pipeline: Pipeline, first: date, days: int, *, nodes: int = 1) -> None:
    await pipeline.execute(f"""
        INSERT INTO nodes (identifier, identifier_type)
        SELECT 'gonka1n' || n, 'wallet' FROM generate_series(1, {nodes}) AS n;
        INSERT INTO node_uptime (node_id, date)
        SELECT id, date '{first}' + day FROM nodes, generate_series(0, {days - 1}) AS day;
        INSERT INTO source_uptime (source, date)
        SELECT 's', date '{first}' + day FROM generate_series(0, {days - 1}) AS day;
    """)


async def dates(pipeline: Pipeline, table: str) -> list[date]:
    return [day for (day,) in await pipeline.rows(f"SELECT DISTINCT date FROM {table} ORDER BY date")]


async def test_uptime_goes_after_its_limit_and_not_a_day_before(pipeline: Pipeline, cache: Database) -> None:
    await uptime(pipeline, LAST_KEPT - timedelta(days=3), 5)
    expected = [Pruned("node_uptime", LAST_KEPT, 3), Pruned("source_uptime", LAST_KEPT, 3)]
    assert await prune_uptime(cache, NOW, dry_run=True) == expected
    assert len(await dates(pipeline, "node_uptime")) == 5, "only counted"
    assert await prune_uptime(cache, NOW) == expected
    for table in ("node_uptime", "source_uptime"):
        assert await dates(pipeline, table) == [LAST_KEPT, LAST_KEPT + timedelta(days=1)]
    assert [each.rows for each in await prune_uptime(cache, NOW) or ()] == [0, 0]


async def test_many_rows_go_in_small_transactions_the_oldest_first(pipeline: Pipeline, cache: Database) -> None:
    await uptime(pipeline, date(2020, 1, 1), 600, nodes=20)
    left: list[int] = []

    class Watched(Database):
        """Notes how many dates are left before each transaction."""

        @asynccontextmanager
        async def transaction(self) -> AsyncIterator[Connection]:
            left.append(len(await dates(pipeline, "node_uptime")))
            async with super().transaction() as connection:
                yield connection

    watched = Watched(pipeline.database, application="cache", role="minegnk_cache")
    async with watched:
        pruned = await prune_uptime(watched, NOW)
    assert pruned is not None
    assert [each.rows for each in pruned] == [12_000, 600]
    assert left[:3] == [600, 350, 100], "5,000 rows are 250 dates of 20 nodes"
    assert await dates(pipeline, "node_uptime") == []


async def test_a_row_that_a_worker_holds_is_left_for_the_next_night(pipeline: Pipeline, cache: Database) -> None:
    await uptime(pipeline, LAST_KEPT - timedelta(days=3), 3)
    async with cache.transaction() as worker:
        await worker.execute("SELECT FROM node_uptime WHERE date = $1 FOR UPDATE", LAST_KEPT - timedelta(days=2))
        assert [each.rows for each in await prune_uptime(cache, NOW) or ()] == [2, 3]
    assert [each.rows for each in await prune_uptime(cache, NOW) or ()] == [1, 0]


def report(epoch: int, amount: int, *, hours: int = 0, **more: Any) -> EarningsReport:
    fields: dict[str, Any] = {
        "identifier": "gonka1alice",
        "identifier_type": "wallet",
        "source": "gonka_api",
        "kind": "epoch",
        "period": epoch,
        "amount_ngonka": amount,
        "settled_at": DAY,
        "settled_exact": True,
        "final": True,
        "observed_at": DAY + timedelta(hours=hours),
    }
    return EarningsReport(**fields | more)


async def age(pipeline: Pipeline, condition: str = "true") -> None:
    """As if these versions had been written long ago."""
    await pipeline.execute(f"UPDATE earnings_ledger SET version_recorded_at = '{LONG_AGO}' WHERE {condition}")
    await pipeline.execute(f"UPDATE earnings_ledger_version SET recorded_at = '{LONG_AGO}' WHERE {condition}")


async def versions(pipeline: Pipeline) -> list[tuple[int, int]]:
    return [
        (epoch, int(amount))
        for epoch, amount in await pipeline.rows(
            "SELECT period, amount_ngonka FROM earnings_version ORDER BY period, amount_ngonka"
        )
    ]


async def money(pipeline: Pipeline) -> list[Any]:
    return [
        await pipeline.rows("SELECT * FROM earnings_ledger ORDER BY 1, 2, 3, 4"),
        await pipeline.rows("SELECT * FROM earnings_history ORDER BY node_id, date"),
        await pipeline.rows("SELECT * FROM epoch_settlement ORDER BY 1"),
        await pipeline.rows("SELECT * FROM node_stats_cache ORDER BY 1"),
    ]


async def test_a_superseded_version_goes_and_the_last_two_stay_however_old(
    pipeline: Pipeline, earnings: Database
) -> None:
    await apply_reports(earnings, [report(51, amount, hours=amount) for amount in (1, 2, 3, 4)])
    await apply_reports(earnings, [report(52, amount, hours=amount) for amount in (1, 2)])
    await age(pipeline)
    before = await money(pipeline)
    assert await prune_versions(earnings, NOW, dry_run=True) == [Pruned("earnings_ledger_version", SINCE, 2)]
    assert len(await versions(pipeline)) == 6, "only counted"
    assert await prune_versions(earnings, NOW) == [Pruned("earnings_ledger_version", SINCE, 2)]
    assert await versions(pipeline) == [(51, 3), (51, 4), (52, 1), (52, 2)]
    assert await prune_versions(earnings, NOW) == [Pruned("earnings_ledger_version", SINCE, 0)]
    assert await money(pipeline) == before, "ledger and history are kept"


async def test_the_version_that_stands_stays_although_others_were_said_after_it(
    pipeline: Pipeline, earnings: Database
) -> None:
    def daily(amount: int, *, final: bool) -> EarningsReport:
        return report(51, amount, hours=amount, kind="day", period="2026-03-01", settled_at=None, final=final)

    await apply_reports(earnings, [daily(1, final=True), *(daily(amount, final=False) for amount in (5, 6, 7))])
    await age(pipeline)
    await prune_versions(earnings, NOW)
    assert [amount for _, amount in await versions(pipeline)] == [1, 6, 7]


async def test_what_was_written_within_the_limit_stays_whatever_time_it_is_about(
    pipeline: Pipeline, earnings: Database
) -> None:
    long_observed = datetime(2001, 1, 1, tzinfo=UTC)
    reports = [report(51, amount, observed_at=long_observed + timedelta(hours=amount)) for amount in (1, 2, 3, 4, 5)]
    await apply_reports(earnings, reports)
    await age(pipeline, "amount_ngonka = 1")
    await pipeline.execute(
        f"UPDATE earnings_ledger_version SET recorded_at = '{SINCE}T00:00:00Z' WHERE amount_ngonka = 2"
    )
    await prune_versions(earnings, NOW)
    assert await versions(pipeline) == [(51, 2), (51, 3), (51, 4), (51, 5)]


async def test_a_version_that_comes_to_stand_again_meanwhile_stays(pipeline: Pipeline, earnings: Database) -> None:
    await apply_reports(earnings, [report(51, amount, hours=amount) for amount in (1, 2, 3)])
    await age(pipeline)
    async with earnings.transaction() as worker:
        await worker.execute("SELECT FROM earnings_node FOR UPDATE")
        task = asyncio.create_task(prune_versions(earnings, NOW))
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        await until(lambda: pipeline.rows(waiting), "the pruning waits for the node")
        await worker.execute("UPDATE earnings_ledger SET amount_ngonka = 1, observed_at = now()")
    assert [each.rows for each in await task or ()] == [0]
    assert await versions(pipeline) == [(51, 1), (51, 2), (51, 3)]


async def test_a_replay_writes_what_went_again_and_changes_no_amount(pipeline: Pipeline, earnings: Database) -> None:
    reports = [report(51, amount, hours=amount) for amount in (1, 2, 3, 4)]
    await apply_reports(earnings, reports)
    await age(pipeline)
    before = await money(pipeline)
    await prune_versions(earnings, NOW)
    await apply_reports(earnings, reports)
    assert await versions(pipeline) == [(51, 1), (51, 2), (51, 3), (51, 4)]
    assert await money(pipeline) == before
    assert [each.rows for each in await prune_versions(earnings, NOW) or ()] == [0]


async def test_versions_of_many_nodes_go_in_batches(
    pipeline: Pipeline, earnings: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "NODES_AT_ONCE", 2)
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(pruning, "ROWS_AT_ONCE", 3)
    reports = [
        report(51, amount, hours=amount, identifier=f"gonka1n{n}") for n in range(5) for amount in (1, 2, 3, 4, 5, 6)
    ]
    await apply_reports(earnings, reports)
    await age(pipeline)
    assert [each.rows for each in await prune_versions(earnings, NOW, dry_run=True) or ()] == [20]
    assert [each.rows for each in await prune_versions(earnings, NOW) or ()] == [20]
    assert await versions(pipeline) == [(51, 5)] * 5 + [(51, 6)] * 5


@pytest.mark.parametrize(
    ("name", "prune"), [("minegnk.retention.uptime", prune_uptime), ("minegnk.retention.versions", prune_versions)]
)
async def test_one_worker_prunes_at_a_time(
    pipeline: Pipeline, name: str, prune: Callable[[Database, datetime], Any]
) -> None:
    one, other = (Database(pipeline.database, application=name) for name in ("one", "other"))
    async with one, other:
        async with duty(one, name) as mine:
            assert mine
            assert await prune(other, NOW) is None
            assert "Another worker is pruning" in refused(pipeline, "prune")
        assert await prune(other, NOW) is not None


async def test_every_night_the_services_prune(
    pipeline: Pipeline, cache: Database, earnings: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await uptime(pipeline, date(2020, 1, 1), 3)
    await apply_reports(earnings, [report(51, amount, hours=amount) for amount in (1, 2, 3, 4)])
    await age(pipeline)
    monkeypatch.setattr(pruning, "NIGHTLY", EVERY_SECOND)
    for create_app, table, rows in (
        (services.cache.app.create_app, "node_uptime", 0),
        (services.earnings.app.create_app, "earnings_ledger_version", 2),
    ):
        app = create_app(pipeline.kafka, pipeline.database, load(ConsumerSettings), WITHOUT_PAGES, CollectorRegistry())

        async def pruned(table: str = table, rows: int = rows) -> bool:
            return await pipeline.rows(f"SELECT count(*) FROM {table}") == [(rows,)]

        async with tasks_of(app):
            await until(pruned, f"{table} is pruned")


@asynccontextmanager
async def tasks_of(app: faust.App) -> AsyncIterator[None]:
    """The timers and crontabs of an app that does not consume."""
    tasks = [asyncio.ensure_future(task()) for task in app._app_tasks]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        parts: list[Any] = app._extra_services
        for service in parts:
            if isinstance(service, Database):
                await service.on_stop()


async def test_an_outage_is_waited_out_and_what_went_is_counted(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "NIGHTLY", EVERY_SECOND)
    outcomes: list[Any] = [asyncpg.CannotConnectNowError("starting up"), None, [Pruned("t", NOW.date(), 7)]]
    asked: list[datetime] = []

    async def prune(now: datetime) -> Any:
        asked.append(now)
        outcome = outcomes[min(len(asked), len(outcomes)) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    registry = CollectorRegistry()
    app = faust_app("cache", pipeline.kafka, WITHOUT_PAGES)
    schedule_pruning(app, registry, prune)

    async def counted() -> bool:
        return bool(registry.get_sample_value("minegnk_pruned_rows_total", {"table": "t"}))

    async with tasks_of(app):
        await until(counted, "the third night")
    assert len(asked) >= 3
    assert all(now.tzinfo is UTC for now in asked)


async def test_the_command_says_what_would_go_and_then_deletes_it(
    pipeline: Pipeline, cache: Database, earnings: Database
) -> None:
    await uptime(pipeline, date(2020, 1, 1), 3)
    await apply_reports(earnings, [report(51, amount, hours=amount) for amount in (1, 2, 3, 4)])
    await pipeline.execute("UPDATE earnings_ledger_version SET recorded_at = '2020-01-01'")

    def said(*arguments: str) -> list[list[str]]:
        found = run(pipeline, "prune", *arguments)
        assert (found.returncode, found.stderr) == (0, "")
        rows = [line.replace("│", " ").split() for line in found.stdout.splitlines() if "before" in line]
        return [[row[0], row[-1]] for row in rows]

    expected = [["node_uptime", "3"], ["source_uptime", "3"], ["earnings_ledger_version", "2"]]
    assert said("--dry-run") == expected
    assert said() == expected
    assert said("--dry-run") == [[table, "0"] for table, _ in expected]


def test_without_a_database_or_its_tables_it_says_what_to_do(pipeline: Pipeline) -> None:
    port = closed_port()
    assert f"PostgreSQL at 127.0.0.1:{port} cannot be reached" in refused(pipeline, "prune", DB_PORT=port)
    assert "run `minegnk migrate`" in refused(pipeline, "prune", DB_DATABASE="postgres")
