"""What nodes may earn in the running epoch stands apart, with its method, until the epoch settles; never in history."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.earnings.store import apply_reports
from services.kernel.database import Database
from services.kernel.events import EarningsReport
from tests.integration.pipeline import Pipeline

pytestmark = pytest.mark.integration

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def report(epoch: int, amount: int, minutes: int, **more: Any) -> EarningsReport:
    fields: dict[str, Any] = {
        "identifier": "gonka1alice",
        "identifier_type": "wallet",
        "source": "gonka_api",
        "kind": "epoch",
        "period": epoch,
        "amount_ngonka": amount,
        "observed_at": NOON + timedelta(minutes=minutes),
    }
    return EarningsReport(**fields | more)


def estimate(epoch: int, amount: int, minutes: int) -> EarningsReport:
    return report(epoch, amount, minutes, work_ngonka=1, reward_ngonka=amount - 1, method="work coins so far + a guess")


def final(epoch: int, amount: int, minutes: int) -> EarningsReport:
    return report(epoch, amount, minutes, settled_at=NOON, settled_exact=True, final=True, method="is dropped")


async def shown(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    return await pipeline.rows("SELECT epoch, amount_ngonka, estimate_gnk, method FROM earnings_estimates")


async def test_the_newest_estimate_of_the_running_epoch_is_shown_and_nothing_else_changes(
    pipeline: Pipeline, earnings: Database
) -> None:
    await apply_reports(earnings, [final(51, 7 * 10**9, 0)])
    before = (
        await pipeline.rows("SELECT * FROM earnings_history"),
        await pipeline.rows("SELECT earnings_day, earnings_total FROM node_stats_cache"),
    )
    await apply_reports(earnings, [estimate(52, 3 * 10**9, 20), estimate(52, 5 * 10**9, 30)])
    await apply_reports(earnings, [estimate(52, 4 * 10**9, 10)])
    assert await shown(pipeline) == [(52, 5 * 10**9, 5, "work coins so far + a guess")]
    assert before == (
        await pipeline.rows("SELECT * FROM earnings_history"),
        await pipeline.rows("SELECT earnings_day, earnings_total FROM node_stats_cache"),
    )
    assert await pipeline.rows("SELECT period FROM earnings_version") == [(51,)], "no statement to be kept"


async def test_the_final_report_takes_the_estimates_place_even_when_it_came_first(
    pipeline: Pipeline, earnings: Database
) -> None:
    for reports in ([estimate(52, 9, 50), final(52, 4 * 10**9, 40)], [final(52, 4 * 10**9, 40), estimate(52, 9, 50)]):
        await pipeline.empty_tables()
        earnings.forget()
        for each in reports:
            await apply_reports(earnings, [each])
        assert await shown(pipeline) == []
        assert await pipeline.rows("SELECT amount_ngonka, final, method FROM earnings_ledger") == [
            (4 * 10**9, True, None)
        ]
        assert await pipeline.rows("SELECT earnings_gnk FROM earnings_history") == [(4,)]


async def test_an_estimate_of_a_past_epoch_that_never_became_final_is_not_shown(
    pipeline: Pipeline, earnings: Database
) -> None:
    await apply_reports(
        earnings, [estimate(52, 9, 10), report(53, 1, 40, identifier="gonka1bob", final=True, settled_at=NOON)]
    )
    assert await shown(pipeline) == []
    assert await pipeline.rows("SELECT identifier FROM earnings_history JOIN nodes ON nodes.id = node_id") == [
        ("gonka1bob",)
    ]
