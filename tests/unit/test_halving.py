"""Finding what the database refuses, and getting through when it is slow."""

from collections.abc import Sequence

import asyncpg
import pytest

from services.kernel.halving import Applied, Refused, apply_by_halves


class Table:
    """Applies numbers of which some are refused, and no more than `at_once`."""

    def __init__(self, refused: set[int], at_once: int = 1000) -> None:
        self.refused = refused
        self.at_once = at_once
        self.rows: list[int] = []

    async def apply(self, numbers: Sequence[int]) -> Applied:
        if len(numbers) > self.at_once:
            raise TimeoutError
        if bad := self.refused.intersection(numbers):
            raise asyncpg.CheckViolationError(f"refused {min(bad)}")
        self.rows.extend(numbers)
        return Applied(len(numbers), 1, 2)


async def test_a_good_batch_is_applied_at_once() -> None:
    table = Table(set())
    assert await apply_by_halves([1, 2, 3], table.apply) == (Applied(3, 1, 2), [])
    assert table.rows == [1, 2, 3]


async def test_exactly_the_refused_are_found_with_their_places_and_all_others_applied() -> None:
    table = Table({10, 17, 99})
    applied, refused = await apply_by_halves(range(100), table.apply)
    assert refused == [Refused(at, f"refused {at}") for at in (10, 17, 99)]
    assert sorted(table.rows) == sorted(set(range(100)) - table.refused)
    assert applied.changed == 97


async def test_a_time_limit_is_met_by_less_at_once() -> None:
    table = Table({33}, at_once=10)
    applied, refused = await apply_by_halves(range(100), table.apply)
    assert sorted(table.rows) == [number for number in range(100) if number != 33]
    assert (applied.changed, [each.place for each in refused]) == (99, [33])
    assert applied.stale > 1, "of every part"
    assert applied.duplicate == 2 * applied.stale


async def test_one_event_that_is_too_slow_is_no_ones_fault() -> None:
    with pytest.raises(TimeoutError):
        await apply_by_halves([1], Table(set(), at_once=0).apply)


async def test_whatever_else_is_raised_goes_on_up() -> None:
    async def defect(_: Sequence[int]) -> Applied:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await apply_by_halves([1, 2], defect)


async def test_nothing_is_nothing() -> None:
    assert await apply_by_halves([], Table(set()).apply) == (Applied(0, 0), [])
