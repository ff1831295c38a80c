"""What can be claimed of a source's own total of an epoch, and what is said where it is not so."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.earnings.epoch_totals import Compared, Finding, TotalDifference, differing_totals

GNK = 10**9


def compared(total: int, *rewards: int, **more: Any) -> Compared:
    """A source's total beside a ledger with these rewards, all of them told apart from work."""
    held = sum(rewards)
    hosts = sum(reward > 0 for reward in rewards)
    row = Compared(epoch=7, source="s", total=total, hosts=hosts, least=held, most=held, once=held)
    return row._replace(**more)


def findings(*rows: Compared) -> list[tuple[str, Finding]]:
    return [(each.source, each.finding) for each in differing_totals(rows)]


rewards = st.lists(st.integers(0, 30_000 * GNK), min_size=1, max_size=60)


@given(rewards)
def test_a_sum_cut_to_whole_gnk_fits_the_rewards_that_it_is_made_of(paid: list[int]) -> None:
    assert differing_totals([compared(sum(paid) // GNK * GNK, *paid)]) == []


@given(rewards)
def test_a_sum_of_rewards_that_were_each_cut_fits_too(paid: list[int]) -> None:
    assert differing_totals([compared(sum(reward // GNK * GNK for reward in paid), *paid)]) == []


@given(rewards, st.data())
def test_a_missing_host_shows_when_its_reward_is_more_than_what_was_cut_off(
    paid: list[int], data: st.DataObject
) -> None:
    total = sum(paid) // GNK * GNK
    left = list(paid)
    missing = left.pop(data.draw(st.integers(0, len(paid) - 1)))
    found = findings(compared(total, *left))
    assert found == ([("s", Finding.MISSING)] if missing > sum(paid) % GNK else [])


def test_the_sum_may_be_less_than_one_gnk_for_each_rewarded_host_above_the_total_and_no_more() -> None:
    assert findings(compared(10 * GNK, 6 * GNK, 6 * GNK - 1, 0)) == []
    assert findings(compared(10 * GNK, 6 * GNK, 6 * GNK, 0)) == [("s", Finding.LOW)]


def test_a_total_that_is_one_ngonka_of_a_whole_gnk_above_the_sum_does_not_fit() -> None:
    assert findings(compared(10 * GNK, 10 * GNK)) == []
    assert findings(compared(10 * GNK, 10 * GNK - 1)) == [("s", Finding.MISSING)]


def test_what_a_total_says_beyond_whole_gnk_may_be_rounded() -> None:
    assert findings(compared(10 * GNK + 5, 10 * GNK)) == []


def test_an_epoch_without_any_row_lacks_all_of_its_total() -> None:
    assert differing_totals([compared(10 * GNK)]) == [
        TotalDifference(7, "s", 10 * GNK, 0, -10 * GNK, 0, Finding.MISSING)
    ]


def test_a_row_that_does_not_tell_work_from_reward_may_be_either() -> None:
    assert findings(compared(10 * GNK, 10 * GNK, least=0)) == []
    assert findings(compared(1 * GNK, 10 * GNK, least=0)) == []
    assert findings(compared(11 * GNK, 10 * GNK, least=0)) == [("s", Finding.MISSING)]


def test_a_total_is_not_believed_against_the_ledger_and_another_source() -> None:
    right, wrong = compared(10 * GNK, 10 * GNK, source="a"), compared(99 * GNK, 10 * GNK, source="b")
    assert findings(right, wrong) == [("b", Finding.CONTRADICTED)]
    assert findings(right._replace(epoch=6), wrong) == [("b", Finding.MISSING)], "another epoch's total says nothing"


def test_two_sources_above_the_ledger_do_not_contradict_each_other() -> None:
    rows = [compared(20 * GNK, 10 * GNK, source=source) for source in ("a", "b")]
    assert findings(*rows) == [("a", Finding.MISSING), ("b", Finding.MISSING)]


@pytest.mark.parametrize(("once", "finding"), [(12 * GNK, Finding.RESTATED), (12 * GNK - 1, Finding.MISSING)])
def test_a_total_that_was_true_before_a_restatement_is_told_apart(once: int, finding: Finding) -> None:
    assert findings(compared(12 * GNK, 10 * GNK, once=once)) == [("s", finding)]


def test_the_difference_is_what_the_ledger_has_more() -> None:
    (found,) = differing_totals([compared(10 * GNK, 20 * GNK, 5)])
    assert found == TotalDifference(7, "s", 10 * GNK, 20 * GNK + 5, 10 * GNK + 5, 2, Finding.LOW)
