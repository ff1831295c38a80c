"""History is compared with the ledger, mended on request, and projected again when the sources' order changes."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from services.cache.store import apply_source_status
from services.earnings.epoch_totals import Finding, TotalDifference
from services.earnings.nightly import ReconciliationMetrics, ask_for_missing
from services.earnings.reconciliation import Difference, Disagreement, Reconciliation, reconcile
from services.earnings.source_order import follow_order
from services.earnings.store import apply_reports
from services.kernel.database import Database
from services.kernel.events import REFRESH_TOPIC, EarningsReport, RefreshRequest, SourceStatus
from services.kernel.publisher import KafkaPublisher
from services.kernel.topics import refresh_partition
from services.kernel.wire import decoder_for
from tests.integration.pipeline import Pipeline, records_of, recreate_topics
from tests.integration.test_cli_commands import run

pytestmark = pytest.mark.integration

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
GNK = 10**9


def report(node: str, epoch: int, amount: int, **more: Any) -> EarningsReport:
    settled_at = START + timedelta(days=epoch)
    return EarningsReport(
        identifier=f"gonka1{node}",
        identifier_type="wallet",
        kind="epoch",
        period=epoch,
        amount_ngonka=amount,
        settled_at=settled_at,
        **{"final": True, "source": "gonka_api", "observed_at": settled_at + timedelta(hours=1), **more},
    )


def status(source: str, order: int, *, minutes: int = 0) -> SourceStatus:
    return SourceStatus(
        source=source,
        kind=source,
        reported_at=START + timedelta(minutes=minutes),
        preference_seconds=0,
        earnings_order=order,
        probes_health=False,
        poll_interval_seconds=60,
    )


async def history(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return await pipeline.rows(
        "SELECT identifier, date, earnings_gnk, source FROM earnings_history JOIN nodes ON nodes.id = node_id"
        " ORDER BY 1, 2"
    )


async def test_what_was_written_by_the_service_differs_nowhere(earnings: Database) -> None:
    await apply_reports(
        earnings, [report(node, epoch, 7 * GNK + epoch) for node in ("alice", "bob") for epoch in range(5)]
    )
    found = await reconcile(earnings, fix=False)
    assert found is not None
    assert (found.nodes, found.differences, found.sums, found.disagreements, found.missing_epochs, found.open) == (
        2,
        [],
        [],
        [],
        [],
        0,
    )


async def test_differences_are_found_and_nothing_is_written_unless_they_are_to_be_mended(
    pipeline: Pipeline, earnings: Database
) -> None:
    await apply_reports(earnings, [report("alice", epoch, 7 * GNK) for epoch in range(4)])
    right = await history(pipeline)
    await pipeline.execute(
        """
        UPDATE earnings_history SET earnings_gnk = 8 WHERE date = '2026-03-01';
        DELETE FROM earnings_history WHERE date = '2026-03-02';
        INSERT INTO earnings_history (node_id, date, earnings_gnk, source) SELECT id, '2026-04-01', 1, 'x' FROM nodes;
        UPDATE earnings_history SET source = 'someone' WHERE date = '2026-03-03';
        UPDATE node_stats_cache SET earnings_total = 1;
        """
    )
    wrong = await history(pipeline)
    expected = {
        Difference("gonka1alice", "earnings_history", date(2026, 3, 1), Decimal(8), Decimal(7)),
        Difference("gonka1alice", "earnings_history", date(2026, 3, 2), None, Decimal(7)),
        Difference("gonka1alice", "earnings_history", date(2026, 3, 3), Decimal(7), Decimal(7)),
        Difference("gonka1alice", "earnings_history", date(2026, 4, 1), Decimal(1), None),
        Difference("gonka1alice", "earnings_total", None, Decimal(1), Decimal(28)),
    }
    found = await reconcile(earnings, fix=False)
    assert found is not None
    assert set(found.differences) == expected
    assert [difference.what for difference in found.sums] == ["earnings_total"]
    assert found.open == 6
    assert await history(pipeline) == wrong, "looked at only"

    found = await reconcile(earnings, fix=True)
    assert found is not None
    assert set(found.differences) == expected
    assert found.open == 0
    assert await history(pipeline) == right
    assert await pipeline.rows("SELECT earnings_day, earnings_total FROM node_stats_cache") == [(7, 28)]


async def test_sources_that_disagree_and_epochs_nobody_reported_are_shown(
    pipeline: Pipeline, earnings: Database
) -> None:
    await apply_reports(
        earnings,
        [
            *(report("alice", epoch, 7 * GNK) for epoch in (3, 4, 7)),
            report("alice", 4, 9 * GNK, source="gonkascan"),
            report("alice", 7, 7 * GNK, source="gonkascan"),
            report("alice", 3, 1, source="gonkascan", final=False),
        ],
    )
    found = await reconcile(earnings, fix=False)
    assert found is not None
    assert found.disagreements == [
        Disagreement("gonka1alice", "epoch", 4, {"gonka_api": 7 * GNK, "gonkascan": 9 * GNK})
    ]
    assert (found.missing_epochs, found.epoch_sources, found.open) == ([5, 6], ["gonka_api", "gonkascan"], 0)

    publisher = KafkaPublisher(pipeline.kafka)
    async with publisher:
        assert await ask_for_missing(publisher, found) == [5, 6]
    decode = decoder_for(RefreshRequest)
    asked = [(decode(record), record.partition) for record in await records_of(pipeline.kafka, REFRESH_TOPIC)]
    assert sorted((request.source, request.epoch, partition) for request, partition in asked) == sorted(
        (source, epoch, refresh_partition(source)) for source in ("gonka_api", "gonkascan") for epoch in (5, 6)
    )


def rewarded(node: str, epoch: int, reward: int, work: int = 0, **more: Any) -> EarningsReport:
    return report(node, epoch, reward + work, work_ngonka=work, reward_ngonka=reward, **more)


async def state_totals(cache: Database, source: str, totals: dict[int, int], minutes: int = 0) -> None:
    """The source says that these epochs paid so many whole GNK in all."""
    said = [
        replace(status(source, 20, minutes=minutes), total_epoch=epoch, total_ngonka=total * GNK)
        for epoch, total in totals.items()
    ]
    await apply_source_status(cache, said)


async def test_a_sources_totals_are_compared_with_the_rewards_that_count(
    pipeline: Pipeline, earnings: Database, cache: Database
) -> None:
    await apply_source_status(cache, [status("gonka_api", 0), status("gonkascan", 10)])
    await apply_reports(
        earnings,
        [
            *(rewarded("alice", epoch, 7 * GNK + 1, work=90 * GNK) for epoch in range(1, 6)),
            *(rewarded("bob", epoch, 5 * GNK + 1) for epoch in range(1, 6)),
            rewarded("carol", 1, 0, work=90 * GNK),
            *(rewarded("bob", epoch, 80 * GNK, source="gonkascan") for epoch in range(1, 6)),  # comes second
            rewarded("dora", 2, 300 * GNK, final=False),
            report("emil", 5, 4 * GNK),  # does not tell work from reward
        ],
    )
    # Epoch 0 is before the ledger's first. Of epoch 6 nothing is there.
    await state_totals(cache, "hyperfusion", {0: 9, 1: 12, 2: 13, 3: 11, 4: 10, 5: 16, 6: 3})
    found = await reconcile(earnings, fix=False)
    assert found is not None
    assert found.totals == [
        TotalDifference(6, "hyperfusion", 3 * GNK, 0, -3 * GNK, 0, Finding.MISSING),
        TotalDifference(4, "hyperfusion", 10 * GNK, 12 * GNK + 2, 2 * GNK + 2, 2, Finding.LOW),
        TotalDifference(2, "hyperfusion", 13 * GNK, 12 * GNK + 2, -GNK + 2, 2, Finding.MISSING),
    ]
    assert (found.short_epochs, found.open) == ([2, 6], 2)


async def test_a_total_that_was_true_before_a_restatement_is_no_gap_of_the_ledger(
    pipeline: Pipeline, earnings: Database, cache: Database
) -> None:
    await apply_reports(earnings, [rewarded("alice", 1, 9 * GNK), rewarded("bob", 1, 5 * GNK)])
    await state_totals(cache, "hyperfusion", {1: 14})
    late = START + timedelta(days=2)
    await apply_reports(earnings, [rewarded("alice", 1, 7 * GNK, observed_at=late)])
    found = await reconcile(earnings, fix=False)
    assert found is not None
    assert [(total.ledger, total.finding) for total in found.totals] == [(12 * GNK, Finding.RESTATED)]
    assert (found.short_epochs, found.open) == ([], 0)
    await state_totals(cache, "hyperfusion", {1: 15}, minutes=1)
    found = await reconcile(earnings, fix=False)
    assert found is not None
    assert [total.finding for total in found.totals] == [Finding.MISSING], "more than was ever said"


async def test_totals_of_the_past_are_asked_for_step_by_step(
    pipeline: Pipeline, earnings: Database, cache: Database
) -> None:
    await apply_reports(earnings, [rewarded("alice", epoch, GNK) for epoch in range(100, 131)])
    await state_totals(cache, "hyperfusion", dict.fromkeys((124, 126, 127, 130), 1))
    await state_totals(cache, "gonkascan", {101: 1})

    async def asked_for() -> list[tuple[str, int]]:
        found = await reconcile(earnings, fix=False)
        assert found is not None
        return found.unstated

    # The ten below the oldest that is known; what may still be under way, above the newest, is not asked for.
    assert await asked_for() == [("gonkascan", 100), *(("hyperfusion", epoch) for epoch in range(114, 124))]
    await state_totals(cache, "hyperfusion", dict.fromkeys(range(100, 124), 1))
    assert await asked_for() == [("gonkascan", 100), *(("hyperfusion", epoch) for epoch in (125, 128, 129))]


async def test_a_total_without_any_settled_epoch_is_compared_with_nothing(
    pipeline: Pipeline, earnings: Database, cache: Database
) -> None:
    await state_totals(cache, "hyperfusion", {1: 14})
    found = await reconcile(earnings, fix=False)
    assert found is not None
    assert (found.totals, found.open) == ([], 0)


async def test_the_command_shows_totals_that_differ_and_says_by_its_exit_code_when_the_ledger_is_short(
    pipeline: Pipeline, earnings: Database, cache: Database
) -> None:
    await apply_reports(earnings, [rewarded("alice", epoch, 7 * GNK + 123_456_789) for epoch in (1, 2)])
    await state_totals(cache, "hyperfusion", {1: 5, 2: 7})
    low = run(pipeline, "reconcile")
    assert (low.returncode, low.stderr) == (0, "")
    assert "too small" in low.stdout
    assert "7.123456789" in low.stdout
    assert "1 totals of epochs" in low.stdout

    await state_totals(cache, "hyperfusion", {2: 1_250}, minutes=1)
    short = run(pipeline, "reconcile")
    assert short.returncode == 1
    said = " ".join(short.stdout.split())
    assert "1,250.000000000" in said
    assert "-1,242.876543211" in said
    assert "1 epochs of which the ledger lacks rewards (run with --fix to ask ingest for them), the newest: 2" in said
    assert "derive them again" not in said, "deriving does not mend it"
    document = json.loads(run(pipeline, "reconcile", "--json").stdout)
    assert document["totals"][0][:4] == [2, "hyperfusion", 1_250 * GNK, 7 * GNK + 123_456_789]
    assert document["short_epochs"] == [2]

    await recreate_topics(pipeline.kafka)
    asked = run(pipeline, "reconcile", "--fix")
    assert asked.returncode == 1, "whether the ledger or the source is wrong shows with what comes in"
    assert "lacks rewards (asked ingest for 1)" in " ".join(asked.stdout.split())
    decode = decoder_for(RefreshRequest)
    requests = [decode(record) for record in await records_of(pipeline.kafka, REFRESH_TOPIC)]
    assert sorted((each.source, each.epoch) for each in requests) == [
        ("gonka_api", 2),
        ("hyperfusion", 1),
        ("hyperfusion", 2),
    ]


def test_every_kind_of_difference_has_its_gauge_until_another_worker_reconciles() -> None:
    registry = CollectorRegistry()
    metrics = ReconciliationMetrics(registry)
    low = TotalDifference(1, "s", 5 * GNK, 7 * GNK, 2 * GNK, 1, Finding.LOW)
    short = low._replace(finding=Finding.MISSING)
    metrics.note(Reconciliation(totals=[low, short], disagreements=[Disagreement("n", "epoch", 1, {})]))
    expected = {"history": 0, "sums": 0, "sources": 1, "totals": 2}
    name = "minegnk_reconciliation_differences"
    assert {kind: registry.get_sample_value(name, {"between": kind}) for kind in expected} == expected
    assert registry.get_sample_value("minegnk_reconciliation_short_epochs") == 1
    metrics.forget()
    assert registry.get_sample_value(name, {"between": "sources"}) is None
    assert registry.get_sample_value("minegnk_reconciliation_short_epochs") == 0


async def test_only_one_reconciles_at_a_time(pipeline: Pipeline, earnings: Database) -> None:
    await apply_reports(earnings, [report("alice", 1, GNK)])
    async with earnings.connection() as other:
        await other.execute("SELECT pg_advisory_lock(hashtextextended('minegnk.reconciliation', 0))")
        assert await reconcile(earnings, fix=False) is None
        await other.execute("SELECT pg_advisory_unlock(hashtextextended('minegnk.reconciliation', 0))")
    assert await reconcile(earnings, fix=False) is not None


async def test_a_changed_order_of_sources_projects_old_dates_again(
    pipeline: Pipeline, earnings: Database, cache: Database
) -> None:
    await apply_source_status(cache, [status("gonka_api", 1), status("gonkascan", 2)])
    await apply_reports(
        earnings,
        [
            *(report("alice", epoch, 7 * GNK) for epoch in range(3)),
            *(report("alice", epoch, 9 * GNK, source="gonkascan") for epoch in range(2)),
            report("bob", 1, 5 * GNK),
        ],
    )
    before = await history(pipeline)
    assert [row[2] for row in before] == [7, 7, 7, 5]
    assert await follow_order(earnings) == 0, "it was followed before the first report"

    await apply_source_status(cache, [status("gonkascan", 0, minutes=5)])
    assert await history(pipeline) == before, "a status alone moves no money"
    assert await follow_order(earnings) == 1, "only alice has two sources"
    assert [(row[2], row[3]) for row in await history(pipeline)] == [
        (9, "gonkascan"),
        (9, "gonkascan"),
        (7, "gonka_api"),
        (5, "gonka_api"),
    ]
    assert sorted(await pipeline.rows("SELECT earnings_total FROM node_stats_cache")) == [(5,), (25,)]
    assert await follow_order(earnings) == 0


async def test_reports_that_came_before_the_statuses_of_their_sources_are_put_in_order(
    pipeline: Pipeline, earnings: Database, cache: Database
) -> None:
    await apply_reports(earnings, [report("alice", 1, 7 * GNK, source="zulu"), report("alice", 1, 9 * GNK)])
    assert [row[2] for row in await history(pipeline)] == [9], "unknown sources go by name"
    await apply_source_status(cache, [status("zulu", 1), status("gonka_api", 2)])
    assert await follow_order(earnings) == 1
    assert [row[2] for row in await history(pipeline)] == [7]


async def test_the_command_tells_differences_by_table_and_exit_code(pipeline: Pipeline, earnings: Database) -> None:
    await apply_reports(earnings, [report("alice", epoch, 7 * GNK) for epoch in (1, 2, 4)])
    fine = run(pipeline, "reconcile")
    assert (fine.returncode, fine.stderr) == (0, "")
    assert "0 values differ" in fine.stdout
    await pipeline.execute("UPDATE earnings_history SET earnings_gnk = 8.5 WHERE date = '2026-03-02'")
    different = run(pipeline, "reconcile")
    assert different.returncode == 1
    assert "8.50000000" in different.stdout
    assert "7.00000000" in different.stdout
    assert "--fix" in different.stdout
    document = json.loads(run(pipeline, "reconcile", "--json").stdout)
    assert document["differences"][0][:3] == ["gonka1alice", "earnings_history", "2026-03-02"]
    assert document["missing_epochs"] == [3]
    mended = run(pipeline, "reconcile", "--fix")
    assert mended.returncode == 0, mended.stderr
    assert "Mended." in mended.stdout
    assert "asked ingest for 1" in " ".join(mended.stdout.split())
    assert run(pipeline, "reconcile").returncode == 0
