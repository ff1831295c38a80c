"""A short form of `python -m tests.fuzz`, and the proof that it would notice."""

import secrets
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import chain, islice
from random import Random
from typing import Any

import pytest
from msgspec.structs import force_setattr

from services.kernel.events import EarningsReport, NodeReading, SourceStatus
from tests.fuzz.__main__ import APPENDED
from tests.fuzz.bounds import violations
from tests.fuzz.mutations import Mutant, mutants
from tests.fuzz.samples import EVENT_CLASSES, sample
from tests.fuzz.verdicts import judge
from tests.fuzz.worker import CONSUMED, judge_through_workers
from tests.integration.pipeline import Pipeline

APPENDED_MS = int(APPENDED.timestamp() * 1000)
FIXED_SEED = 20_260_301


@pytest.fixture(params=["fixed", "by chance"])
def seed(request: pytest.FixtureRequest) -> int:
    """The same seed always, and another one each time."""
    return FIXED_SEED if request.param == "fixed" else secrets.randbelow(10**9)


def test_every_mutated_record_is_accepted_within_the_bounds_or_refused_with_a_reason(seed: int) -> None:
    verdicts = judge(islice(mutants(Random(seed), APPENDED), 25_000))
    assert not verdicts.failed, f"seed {seed}\n{verdicts}"
    assert 0.2 < verdicts.accepted < 0.5, f"seed {seed}: a weak fuzz\n{verdicts}"


@pytest.mark.integration
async def test_every_mutated_record_is_applied_by_the_workers_or_dead_lettered_with_the_decoders_reason(
    pipeline: Pipeline,
) -> None:
    seeds = FIXED_SEED, secrets.randbelow(10**9)
    now = datetime.now(UTC)
    drawn = chain.from_iterable(islice(mutants(Random(seed), now, CONSUMED), 2500) for seed in seeds)
    verdicts = await judge_through_workers(pipeline, drawn)
    assert verdicts.records == 5000
    assert not verdicts.failed, f"seeds {seeds}, now {now}\n{verdicts}"


def test_a_seed_repeats_every_record() -> None:
    def some(seed: int) -> list[Mutant]:
        return list(islice(mutants(Random(seed), APPENDED), 200))

    assert some(1) == some(1)
    assert some(1) != some(2)


def test_the_samples_themselves_are_all_valid() -> None:
    random = Random(FIXED_SEED)
    for event_class in EVENT_CLASSES:
        for _ in range(500):
            assert violations(sample(random, event_class, APPENDED), APPENDED_MS) == []


@pytest.mark.parametrize(
    ("event_class", "field", "value"),
    [
        (NodeReading, "identifier", "x" * 256),
        (NodeReading, "identifier", "a b"),
        (NodeReading, "identifier_type", "host"),
        (NodeReading, "source", "Hyperfusion"),
        (NodeReading, "status", "fine"),
        (NodeReading, "jobs_day", 2**31),
        (NodeReading, "jobs_day", True),
        (NodeReading, "height", -1),
        (NodeReading, "voting_weight", Decimal("NaN")),
        (NodeReading, "voting_weight", Decimal("1000000000000.00000000")),
        (NodeReading, "tokens_per_sec", Decimal("0.001")),
        (NodeReading, "display_name", "x" * 101),
        (NodeReading, "gpu_type", "a\x00b"),
        (NodeReading, "region", ""),
        (NodeReading, "observed_at", APPENDED + timedelta(minutes=5, microseconds=1)),
        (NodeReading, "observed_at", datetime(1999, 12, 31, tzinfo=UTC)),
        (NodeReading, "observed_at", datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))),
        (EarningsReport, "amount_ngonka", 10**18 + 1),
        (EarningsReport, "amount_ngonka", "1"),
        (EarningsReport, "settled_at", None),
        (EarningsReport, "period", 2**31),
        (EarningsReport, "work_ngonka", 5),
        (SourceStatus, "last_error", "x" * 501),
        (SourceStatus, "preference_seconds", 2**31),
    ],
)
def test_an_accepted_event_beyond_its_bounds_would_be_noticed(event_class: Any, field: str, value: object) -> None:
    event = sample(Random(FIXED_SEED), event_class, APPENDED)
    if isinstance(event, EarningsReport):
        for name, valid in {"kind": "epoch", "period": 1, "final": True, "amount_ngonka": 3}.items():
            force_setattr(event, name, valid)
        for name in ("work_ngonka", "reward_ngonka"):
            force_setattr(event, name, 1 if name == "work_ngonka" else 2)
        force_setattr(event, "settled_at", event.observed_at)
    assert violations(event, APPENDED_MS) == []
    force_setattr(event, field, value)
    assert violations(event, APPENDED_MS) != []
