from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.earnings.ledger import (
    DayAmount,
    Fact,
    Settlement,
    basis_of,
    dating_reports,
    project,
    reduce_reports,
    version_of,
)
from services.kernel.events import EarningsKind, EarningsReport

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def order(source: str) -> int:
    return {"gonka_api": 0, "gonkascan": 10}.get(source, 100)


def report(amount: int, at: int = 0, **changes: Any) -> EarningsReport:
    fields: dict[str, Any] = {
        "identifier": "gonka1abc",
        "identifier_type": "wallet",
        "source": "gonka_api",
        "kind": "epoch",
        "period": 5,
        "amount_ngonka": amount,
        "observed_at": START + timedelta(seconds=at),
        "settled_at": START,
        "settled_exact": True,
        "final": True,
    }
    return EarningsReport(**fields | changes)


def fact(
    amount: int,
    period: int = 5,
    day: date | None = date(2026, 3, 1),
    source: str = "gonka_api",
    kind: EarningsKind = "epoch",
    *,
    final: bool = True,
) -> Fact[str]:
    return Fact("node", source, kind, period, amount, final, day)


def settlements(reports: list[EarningsReport]) -> dict[int, Settlement]:
    return {epoch: settlement for epoch, (settlement, _) in dating_reports(reports).items()}


def amounts(*facts: Fact[str]) -> dict[date, int]:
    return {day: value.amount for (_, day), value in project(facts, order).items()}


def versions(*reports: EarningsReport) -> dict[int, datetime]:
    return {version.amount: seen for (_, version), seen in reduce_reports(reports).versions.items()}


def test_a_restatement_replaces_and_the_version_before_is_kept() -> None:
    reports = [report(10, at=10), report(12, at=60), report(10, at=0), report(10, at=30)]
    (winner,) = reduce_reports(reports).winners.values()
    assert winner.amount == 12
    assert versions(*reports) == {10: START}


def test_what_the_winner_says_is_a_version_only_where_it_was_said_before() -> None:
    assert versions(report(12, at=60)) == versions(report(12, at=60), report(12, at=60)) == {}
    assert versions(report(12, at=60), report(12, at=30), report(12, at=40)) == {12: START + timedelta(seconds=30)}


def test_a_final_report_outranks_any_later_estimate() -> None:
    reduced = reduce_reports([report(10, at=0), report(99, at=60, final=False, settled_at=None)])
    assert [winner.amount for winner in reduced.winners.values()] == [10]


@pytest.mark.parametrize("swap", [False, True])
def test_an_exact_settlement_outranks_a_later_interpolated_one(swap: bool) -> None:
    exact = report(1, at=0, identifier="gonka1a")
    guess = report(1, at=60, identifier="gonka1b", settled_at=START + timedelta(days=1), settled_exact=False)
    best = dating_reports([guess, exact] if swap else [exact, guess])
    assert best == {5: (Settlement(True, exact.observed_at, START, "gonka_api"), exact)}


def test_two_epochs_on_one_date_add_up() -> None:
    assert amounts(fact(10, period=5), fact(7, period=6)) == {date(2026, 3, 1): 17}


def test_a_settled_zero_is_a_row_of_zero() -> None:
    assert amounts(fact(0)) == {date(2026, 3, 1): 0}


def test_what_is_not_final_is_never_history() -> None:
    assert amounts(fact(10, final=False)) == {}


def test_one_source_wins_per_epoch_by_the_order_of_sources() -> None:
    projected = project([fact(10, source="gonkascan"), fact(11), fact(99, source="aaa")], order)
    assert projected == {("node", date(2026, 3, 1)): DayAmount(11, "gonka_api")}


def test_epochs_of_two_sources_on_one_date_name_both() -> None:
    projected = project([fact(1, period=5), fact(2, period=6, source="gonkascan")], order)
    assert projected == {("node", date(2026, 3, 1)): DayAmount(3, "gonka_api+gonkascan")}


def test_epochs_replace_day_counters_and_these_replace_totals() -> None:
    day = fact(50, period=20260302, day=None, kind="day")
    totals = [fact(v, period=p, day=None, kind="total", final=False) for v, p in ((100, 20260301), (130, 20260302))]
    assert amounts(day, *totals, fact(10)) == {date(2026, 3, 1): 10}
    assert amounts(day, *totals) == {date(2026, 3, 2): 50}
    assert amounts(*totals) == {date(2026, 3, 2): 30}


def test_a_lifetime_counter_that_was_reset_counts_from_zero_again() -> None:
    values = ((100, 20260301), (40, 20260302), (45, 20260304))
    totals = [fact(v, period=p, day=None, kind="total") for v, p in values]
    assert amounts(*totals) == {date(2026, 3, 2): 40, date(2026, 3, 4): 5}


def test_counters_of_two_sources_are_never_subtracted_from_each_other() -> None:
    ours = [fact(v, period=p, day=None, kind="total") for v, p in ((100, 20260301), (130, 20260303))]
    theirs = fact(5, period=20260302, day=None, kind="total", source="gonkascan")
    assert amounts(theirs, *ours) == {date(2026, 3, 3): 30}


def test_an_epoch_without_a_known_settlement_waits() -> None:
    assert amounts(fact(10, day=None)) == {}


def test_the_basis_is_the_best_kind_of_final_fact() -> None:
    assert basis_of([fact(1, kind="day"), fact(1, kind="total")]) == "day"
    assert basis_of([fact(1, final=False)]) is None


REPORTS = st.lists(
    st.builds(
        report,
        amount=st.integers(0, 5),
        at=st.integers(0, 5),
        identifier=st.sampled_from(["gonka1a", "gonka1b"]),
        source=st.sampled_from(["gonka_api", "gonkascan"]),
        period=st.integers(1, 3),
        final=st.booleans(),
        settled_exact=st.booleans(),
        claimed=st.sampled_from([None, False, True]),
        work_ngonka=st.sampled_from([None, 0, 3]),
    )
)


@given(REPORTS, st.integers())
def test_order_and_repetition_change_nothing(reports: list[EarningsReport], seed: int) -> None:
    shuffled = [*reports, *reports[::2]]
    Random(seed).shuffle(shuffled)
    first, second = reduce_reports(reports), reduce_reports(shuffled)
    assert first.versions == second.versions
    assert first.distinct == second.distinct
    assert settlements(reports) == settlements(shuffled)
    assert {key: version_of(won) for key, won in first.winners.items()} == {
        key: version_of(won) for key, won in second.winners.items()
    }


@given(REPORTS)
def test_projection_equals_the_plain_model(reports: list[EarningsReport]) -> None:
    facts = [
        Fact(key.identifier, key.source, key.kind, key.period, r.amount, r.final, date(2026, 3, key.period // 2 + 1))
        for key, r in reduce_reports(reports).winners.items()
    ]
    final = {(f.node, f.period, f.source): f.amount for f in facts if f.final}
    expected: dict[tuple[str, date], int] = defaultdict(int)
    for node in ("gonka1a", "gonka1b"):
        for period in (1, 2, 3):
            said = [final[node, period, s] for s in ("gonka_api", "gonkascan") if (node, period, s) in final]
            if said:
                expected[node, date(2026, 3, period // 2 + 1)] += said[0]
    assert {key: value.amount for key, value in project(facts, order).items()} == expected
