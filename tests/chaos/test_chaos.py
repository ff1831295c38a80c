"""Short schedules of faults on real processes; `make chaos` runs long ones."""

from pathlib import Path

import pytest

from tests.chaos.run import run_schedule

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.mark.parametrize("seed", [3, 22])
async def test_nothing_is_lost_and_nothing_counted_twice_under_a_schedule_of_faults(seed: int, tmp_path: Path) -> None:
    outcome = await run_schedule(seed, seconds=22, events=3000, directory=tmp_path)
    assert outcome.passed, str(outcome)
    assert outcome.accounts.letters > 0
    assert outcome.faults.total() >= 4
