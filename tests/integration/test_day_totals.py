"""Daily totals follow what the earnings service writes, under its own role."""

from datetime import date
from decimal import Decimal

import pytest

from services.earnings.store import apply_reports
from services.earnings.totals import refresh_totals
from services.kernel.database import Database
from tests.integration.pipeline import Pipeline
from tests.integration.test_reconciliation import GNK, report

pytestmark = pytest.mark.integration

FLEET = "SELECT date, earnings_gnk, nodes FROM earnings_daily WHERE dimension = 'fleet' ORDER BY date"


@pytest.fixture(autouse=True)
async def nothing_to_refresh(earnings: Database) -> None:
    await refresh_totals(earnings)


async def test_a_restatement_is_in_the_fleets_sum_at_once_and_its_date_is_added_up_again(
    earnings: Database, pipeline: Pipeline
) -> None:
    await apply_reports(earnings, [report("a", 1, GNK), report("b", 1, 2 * GNK), report("a", 2, 4 * GNK)])
    assert await refresh_totals(earnings) == 2
    await apply_reports(earnings, [report("a", 2, 5 * GNK, observed_at=report("a", 9, 0).observed_at)])
    expected = [(date(2026, 3, 2), Decimal(3), 2), (date(2026, 3, 3), Decimal(5), 1)]
    assert await pipeline.rows(FLEET) == expected
    assert await refresh_totals(earnings) == 1
    assert await pipeline.rows(FLEET) == expected
    assert await refresh_totals(earnings) == 0
