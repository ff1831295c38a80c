"""`minegnk explain`: the reports, sources, rounding and restatements behind a number."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.cache.store import apply_source_status
from services.earnings.store import apply_reports
from services.kernel.database import Database
from services.kernel.events import EarningsReport, SourceStatus
from tests.integration.pipeline import Pipeline
from tests.integration.test_cli_commands import run

pytestmark = pytest.mark.integration

DAY = datetime(2026, 3, 1, 1, tzinfo=UTC)
ALICE = "gonka1alice"


@pytest.fixture
async def database(pipeline: Pipeline) -> AsyncIterator[Database]:
    await pipeline.empty_tables()
    database = Database(pipeline.database, application="explain")
    async with database:
        order = {"gonka_api": 1, "gonkascan": 2}
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
                for source, place in order.items()
            ],
        )
        yield database


def report(epoch: int, amount: int, *, hours: int = 0, **more: Any) -> EarningsReport:
    settled_at = DAY + timedelta(hours=22 * (epoch - 51))
    fields: dict[str, Any] = {
        "identifier": ALICE,
        "identifier_type": "wallet",
        "source": "gonka_api",
        "kind": "epoch",
        "period": epoch,
        "amount_ngonka": amount,
        "settled_at": settled_at,
        "settled_exact": True,
        "final": True,
        "observed_at": settled_at + timedelta(hours=1 + hours),
    }
    return EarningsReport(**fields | more)


def explain(pipeline: Pipeline, *arguments: str) -> str:
    found = run(pipeline, "explain", *arguments)
    assert found.returncode == 0, found.stderr
    return " ".join(found.stdout.replace("│", " ").split())


async def test_two_epochs_of_a_date_their_rounding_and_a_restatement(pipeline: Pipeline, database: Database) -> None:
    await apply_reports(database, [report(51, 48_552_031_736_571, work_ngonka=1, reward_ngonka=48_552_031_736_570)])
    await apply_reports(database, [report(51, 48_552_031_736_575, hours=3, claimed=True), report(52, 4)])
    text = explain(pipeline, ALICE, "2026-03-01")
    assert "48552.03173658 GNK (source gonka_api) in earnings_history" in text
    assert "Epoch 51 settled 2026-03-01 01:00:00, read from the block" in text
    assert "48,552,031,736,575 + 4 = 48,552,031,736,579 ngonka = 48552.03173658 GNK, rounded once" in text
    assert "What gonka_api said of epoch 51" in text
    assert "48,552,031,736,571" in text, "what was believed before"
    assert "reconcile" not in text


async def test_the_smallest_amount_is_written_with_all_its_places(pipeline: Pipeline, database: Database) -> None:
    await apply_reports(database, [report(51, 10)])
    assert "0.00000001 GNK (source gonka_api)" in explain(pipeline, ALICE, "2026-03-01")
    assert json.loads(run(pipeline, "explain", ALICE, "2026-03-01", "--json").stdout)["held"] == "0.00000001"


async def test_a_source_that_does_not_count_says_why(pipeline: Pipeline, database: Database) -> None:
    await apply_reports(
        database,
        [
            report(51, 7 * 10**9),
            report(51, 9 * 10**9, source="gonkascan", settled_exact=False),
            report(51, 8 * 10**9, source="mine", final=False),
            report(51, 5, kind="day", period="2026-03-01", settled_at=None),
        ],
    )
    document = json.loads(run(pipeline, "explain", ALICE, "2026-03-01", "--json").stdout)
    assert (document["basis"], document["held"], document["expected"]) == (
        "epoch",
        "7.00000000",
        [7 * 10**9, "gonka_api"],
    )
    assert {(e["kind"], e["source"]): (e["counts"], e["why"]) for e in document["entries"]} == {
        ("epoch", "gonka_api"): (True, "the first source's final amount"),
        ("epoch", "gonkascan"): (False, "gonka_api comes before it in the order of sources"),
        ("epoch", "mine"): (False, "not final: an estimate"),
        ("day", "gonka_api"): (False, "the node's history rests on settled epochs"),
    }


async def test_a_date_without_a_settlement_and_a_row_that_should_not_be_there(
    pipeline: Pipeline, database: Database
) -> None:
    await apply_reports(database, [report(51, 7)])
    assert "No epoch that is known settled on this date" in explain(pipeline, ALICE, "2026-03-05")
    await pipeline.execute(
        "INSERT INTO earnings_history (node_id, date, earnings_gnk, source) SELECT id, '2026-03-05', 1, 'x' FROM nodes"
    )
    assert "The row should not be there: run `minegnk reconcile --fix`" in explain(pipeline, ALICE, "2026-03-05")
    await pipeline.execute("UPDATE earnings_history SET earnings_gnk = 2 WHERE date = '2026-03-01'")
    assert "The row differs from this" in explain(pipeline, ALICE, "2026-03-01")


async def test_an_interpolated_settlement_says_so(pipeline: Pipeline, database: Database) -> None:
    await apply_reports(database, [report(51, 7, settled_exact=False)])
    assert "interpolated between known blocks" in explain(pipeline, ALICE, "2026-03-01")


async def test_a_lifetime_counter_is_explained_by_its_growth(pipeline: Pipeline, database: Database) -> None:
    def counter(day: str, amount: int) -> EarningsReport:
        return report(51, amount, kind="total", period=day, settled_at=None, final=False)

    await apply_reports(database, [counter("2026-02-27", 3 * 10**9), counter("2026-03-01", 10 * 10**9)])
    text = explain(pipeline, ALICE, "2026-03-01")
    assert "growth of the lifetime counter = 7,000,000,000 ngonka = 7.00000000 GNK, exact" in text
    assert "2026-02-27 (counter)" in text


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["gonka1nobody", "2026-03-01"], 1, "No node gonka1nobody is known"),
        ([ALICE, "yesterday"], 2, "'yesterday' is no date: write it like 2026-03-01"),
    ],
)
async def test_wrong_arguments_are_one_sentence(
    pipeline: Pipeline, database: Database, arguments: list[str], code: int, said: str
) -> None:
    found = run(pipeline, "explain", *arguments)
    assert (found.returncode, found.stdout) == (code, "")
    assert said in found.stderr
    assert "Traceback" not in found.stderr
