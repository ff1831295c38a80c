"""How long hypothesis looks, and the bench that the machines work on.

`HYPOTHESIS_PROFILE=thorough` looks for minutes. A failure prints the steps, a blob and the seed that repeat it.
"""

import os
import secrets
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.conftest import NewDatabase, new_database
from tests.property.bench import Bench
from tests.property.deliveries import Deliveries

__all__ = ["new_database"]

_SHORT = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
# Not registered with hypothesis: one of these names is its own, and holds for other tests too.
_PROFILES = {"ci": _SHORT, "thorough": settings(_SHORT, max_examples=300, stateful_step_count=50)}
PROFILE = _PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "ci")]
TIMEOUT_SECONDS = 3600
"""Making a failure smaller takes hypothesis minutes, whatever the profile."""


@pytest.fixture(scope="module")
def bench(new_database: NewDatabase) -> Iterator[Bench]:
    """A database of the module's own, and workers on it."""
    with Bench(new_database()) as bench:
        yield bench


Explore = Callable[..., None]


@pytest.fixture
def explore(bench: Bench, request: pytest.FixtureRequest) -> Explore:
    """Runs a machine under the profile; `share` of its examples."""

    def run(machine: type[Deliveries], share: float = 1) -> None:
        number = int(request.config.getoption("--hypothesis-seed") or secrets.randbits(32))
        machine.bench, machine.seed_of_test = bench, number
        chosen = settings(PROFILE, max_examples=round(PROFILE.max_examples * share))
        run_state_machine_as_test(seed(number)(machine), settings=chosen)

    return run
