"""Times of blocks between known ones."""

from datetime import UTC, datetime, timedelta

from services.ingest.block_times import BlockTimes

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def known(*points: tuple[int, float]) -> BlockTimes:
    table = BlockTimes()
    for height, seconds in points:
        table.add(height, after(seconds))
    return table


def test_a_known_block_has_its_own_time() -> None:
    assert known((100, 7)).exact(100) == after(7)
    assert known((100, 7)).exact(101) is None


def test_between_two_known_heights_the_nearest_ones_count() -> None:
    table = known((0, 0), (1000, 6020), (3000, 16960), (9000, 50000))
    assert table.estimate(2000) == after(11490)


def test_outside_the_known_heights_the_local_rate_is_used_and_not_the_long_mean() -> None:
    table = known((100_000, 0), (101_000, 6000), (900_000, 4_000_000))
    assert table.estimate(99_000) == after(-6000)
    recent = known((0, 0), (800_000, 4_800_000), (801_000, 4_805_000))
    assert recent.estimate(802_000) == after(4_810_000)


def test_two_blocks_side_by_side_are_too_near_for_a_rate() -> None:
    table = known((100_000, 0), (100_001, 60), (101_000, 6000))
    assert table.estimate(99_000) == after(-6000)


def test_one_known_block_is_not_enough_for_an_estimate() -> None:
    assert known((100, 0)).estimate(101) is None
    assert BlockTimes().estimate(1) is None


def test_the_first_time_told_for_a_height_stays() -> None:
    assert known((5, 1), (5, 2)).exact(5) == after(1)


def test_the_table_stays_small_and_keeps_its_ends() -> None:
    table = known(*((height, height * 6) for height in range(10_000)))
    assert table.exact(0) == after(0)
    assert table.exact(9_999) == after(59_994)
    assert table.estimate(4_321) == after(4_321 * 6)
