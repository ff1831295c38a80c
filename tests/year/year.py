"""A year of the simulated network, lived through by ingest on a virtual clock, into real Kafka and PostgreSQL."""

import asyncio
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from services.ingest.sources import Source
from services.kernel.errors import UnavailableError
from services.kernel.events import EARNINGS_TOPIC
from services.kernel.publisher import KafkaPublisher
from services.simulator.app import Simulator, running
from services.simulator.timeline import FIRST_EPOCH
from services.simulator.world import World, WorldSettings
from tests.integration.pipeline import Pipeline, free_port, recreate_topics, until
from tests.year.clock import YearClock
from tests.year.delivery import Journal, overlapping_backfills
from tests.year.faults import archive_away, brew
from tests.year.ingest import CountingPublisher, Ingest
from tests.year.tables import ROWS, Size, all_differences, history_differences, never_stated, sizes
from tests.year.truth import Paid, Truth, truth

SOURCE = "gonka_api"
YEAR_ENDS = datetime(2026, 10, 9, 23, 0, tzinfo=UTC)
"""Before now: a time ahead of Kafka's would be refused."""

_MEAN_EPOCH_HOURS = 24.2
_CALM_EPOCHS = 3
_BEFORE_INGEST = 1 / 3
_INGEST_LIVES_EPOCHS = 40
_RESTART_SECONDS = 0.5
_ALL_RESTATED = timedelta(hours=19)
"""So long after a settlement the simulated network has corrected what it corrects, and the next one is to come."""

_REQUEST_TIMEOUT = timedelta(seconds=2)


@dataclass(frozen=True)
class Plan:
    """How large the year is. `limit` is for the slowest wait, in seconds."""

    epochs: int
    hosts: int
    poll_interval: timedelta
    seed: int = 1
    kills: int = 6
    limit: float = 3600.0

    @property
    def last_epoch(self) -> int:
        return FIRST_EPOCH + self.epochs - 1


@dataclass
class Outcome:
    """What was seen. `differences` is empty when every ngonka is where it belongs."""

    plan: Plan
    reports: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    estimated_wrongly: int = 0
    restated: int = 0
    unpublished: Counter[str] = field(default_factory=Counter)
    budget: dict[str, float] = field(default_factory=dict)
    two_on_a_date: int = 0
    dates_without: int = 0
    history_rows: int = 0
    sizes: list[Size] = field(default_factory=list)
    redelivered: int = 0
    kills: int = 0
    differences: list[str] = field(default_factory=list)


class Year:
    """One year into one pipeline, whose topics and tables are empty at first."""

    def __init__(self, plan: Plan, pipeline: Pipeline) -> None:
        self._plan = plan
        self._pipeline = pipeline
        self._chance = random.Random(plan.seed)
        self.outcome = Outcome(plan)

    async def live(self) -> Truth:
        """Live through the year and compare every table with the truth; `outcome` tells what came of it."""
        plan, outcome = self._plan, self.outcome
        world = WorldSettings(
            seed=plan.seed,
            hosts=plan.hosts,
            days=ceil(plan.epochs * _MEAN_EPOCH_HOURS / 24) + 4,
            started_at=YEAR_ENDS,
        )
        clock = YearClock(YEAR_ENDS - timedelta(days=world.days))
        began = time.monotonic()
        port = free_port()
        self._pipeline.start("earnings", MINEGNK_METRICS_PORT=str(port))
        async with AsyncExitStack() as stack:
            nodes = [await stack.enter_async_context(running(world, clock.now)) for _ in range(2)]
            kafka = KafkaPublisher(self._pipeline.kafka)
            await stack.enter_async_context(kafka)
            publisher = CountingPublisher(kafka, clock)
            source = _source(nodes, plan.poll_interval)
            timeline = nodes[0].world.timeline
            assert timeline.last_past_epoch > plan.last_epoch, "the simulated past is too short"
            past = range(FIRST_EPOCH, FIRST_EPOCH + max(8, int(plan.epochs * _BEFORE_INGEST)))
            await clock.until(timeline.settled_at(past[-1]) + _ALL_RESTATED)
            await self._backfill_from_afar(past, nodes, Ingest(source, clock, publisher), clock)
            for first in range(past.stop, plan.last_epoch + 1, _INGEST_LIVES_EPOCHS):
                async with Ingest(source, clock, publisher) as ingest:
                    last = min(first + _INGEST_LIVES_EPOCHS - 1, plan.last_epoch)
                    await self._live_through(range(first, last + 1), nodes, ingest)
            async with Ingest(source, clock, publisher) as ingest:  # what is restated last is asked for once more
                await ingest.until(timeline.settled_at(plan.last_epoch + 1) - timedelta(hours=3))
                ingest.ask_for([plan.last_epoch])
                await ingest.until(clock.now() + timedelta(hours=1))
            outcome.reports, outcome.unpublished = publisher.reports, publisher.unpublished
            outcome.seconds["ingest and simulator"] = time.monotonic() - began
            await self._pipeline.drained(EARNINGS_TOPIC, seconds=plan.limit)
            outcome.seconds["until all of it is in the tables"] = time.monotonic() - began
            outcome.budget = await _time_budget(port)
            epochs = range(FIRST_EPOCH, plan.last_epoch + 1)
            true = await truth(nodes[0].base_url, epochs)
            outcome.answers.update(nodes[0].requests + nodes[1].requests)
            stated = _stated(nodes[0].world, epochs)
            outcome.restated = sum(nodes[0].world.restated_at(epoch) is not None for epoch in epochs)
        outcome.sizes = await sizes(self._pipeline)
        outcome.differences += await all_differences(self._pipeline, true, SOURCE)
        outcome.differences += await never_stated(self._pipeline, stated)
        outcome.differences += await dead_letters(self._pipeline)
        self._pipeline.stop_all()
        self._note_dates(true)
        ((outcome.history_rows,),) = await self._pipeline.rows("SELECT count(*) FROM earnings_history")
        outcome.seconds["year, checked"] = time.monotonic() - began
        return true

    async def _backfill_from_afar(self, past: range, nodes: list[Simulator], ingest: Ingest, clock: YearClock) -> None:
        """Two overlapping backfills, first with estimated dates, then, once an archive is there, with exact ones."""
        for node in nodes:
            archive_away(node)
        await self._backfill(past, ingest, clock)
        await self._pipeline.drained(EARNINGS_TOPIC, seconds=self._plan.limit)
        true = await truth(nodes[0].base_url, past)
        self.outcome.differences += await history_differences(self._pipeline, true)
        settled = await self._pipeline.rows("SELECT epoch, exact, settled_at FROM epoch_settlement")
        self.outcome.estimated_wrongly = sum(
            not exact and settled_at.date() != true.settled_at[epoch].date() for epoch, exact, settled_at in settled
        )
        for node in nodes:
            node.faults.clear()
        await self._backfill(past, ingest, clock)

    async def _backfill(self, past: range, ingest: Ingest, clock: YearClock) -> None:
        third = len(past) // 3
        for epochs in (past[: 2 * third + 1], past[third:]):
            async with ingest:
                await ingest.until(clock.now() + timedelta(seconds=1))
                ingest.ask_for(epochs)
                await ingest.until(clock.now() + timedelta(minutes=20))

    async def _live_through(self, epochs: range, nodes: list[Simulator], ingest: Ingest) -> None:
        timeline = nodes[0].world.timeline
        for epoch in epochs:
            await ingest.until(timeline.settled_at(epoch) - timedelta(minutes=30))
            if epoch <= self._plan.last_epoch - _CALM_EPOCHS:
                self.outcome.faults.update(brew(self._chance, nodes))
            await ingest.until(timeline.settled_at(epoch) + timedelta(minutes=self._chance.uniform(1, 300)))

    def _note_dates(self, true: Truth) -> None:
        dates = Counter(moment.date() for moment in true.settled_at.values())
        self.outcome.two_on_a_date = sum(number > 1 for number in dates.values())
        self.outcome.dates_without = (max(dates) - min(dates)).days + 1 - len(dates)


def _stated(world: World, epochs: range) -> dict[tuple[str, int], frozenset[Paid]]:
    """What the network says that it paid, before and after its corrections. It never means its late zeros."""
    return {
        (final.address, epoch): frozenset(Paid(row.work_ngonka, row.reward_ngonka) for row in (first, final))
        for epoch in epochs
        for first, final in zip(world.epoch(epoch).first_payments, world.payments(epoch), strict=True)
    }


async def _time_budget(port: int) -> dict[str, float]:
    """Seconds of the worker by what it did."""
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"http://127.0.0.1:{port}/metrics")).raise_for_status().text
    return {
        sample.labels["stage"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "minegnk_consumer_seconds_total"
    }


async def dead_letters(pipeline: Pipeline) -> list[str]:
    """Whether there are any: nothing that ingest publishes may be refused."""
    state = await pipeline.state(EARNINGS_TOPIC)
    return [f"{state.dead_letters} dead letters"] if state.dead_letters else []


def _source(nodes: list[Simulator], poll_interval: timedelta) -> Source:
    return Source.model_validate(
        {
            "name": SOURCE,
            "kind": "gonka_api",
            "base_urls": [node.base_url for node in nodes],
            "poll_interval": poll_interval,
            "requests_per_minute": 6000,
            "allow_private": True,
            "timeout": _REQUEST_TIMEOUT,
        }
    )


async def deliver_in_disorder(plan: Plan, first: Pipeline, second: Pipeline, file: Path, outcome: Outcome) -> None:
    """Deliver the first pipeline's reports again, into the second's database and the same Kafka's new topics.

    Shuffled, repeated, in two overlapping backfills, with one of two workers killed again and again.
    """
    chance = random.Random(plan.seed)
    journal = Journal(file, EARNINGS_TOPIC)
    await journal.copy(first.kafka)
    await recreate_topics(second.kafka)
    began = time.monotonic()
    orders = overlapping_backfills(len(journal), chance)
    outcome.redelivered = sum(map(len, orders))
    workers = [second.start("earnings") for _ in range(2)]
    async with asyncio.TaskGroup() as tasks:
        for order in orders:
            tasks.create_task(journal.deliver(second.kafka, order, random.Random(chance.random())))
        for number in range(1, plan.kills + 1):
            await _handled(second, outcome.redelivered * number // (plan.kills + 1), plan.limit)
            workers[number % 2].kill()
            outcome.kills += 1
            await asyncio.sleep(_RESTART_SECONDS)
            workers[number % 2] = second.start("earnings")
    await second.drained(EARNINGS_TOPIC, seconds=plan.limit)
    outcome.seconds["again, in disorder"] = time.monotonic() - began
    outcome.differences += await dead_letters(second)
    for table, query in ROWS.items():
        held, again = await first.rows(query), await second.rows(query)
        if held != again:
            ours, theirs = set(held), set(again)
            outcome.differences.append(
                f"{table}: {len(ours - theirs)} rows only in order, {len(theirs - ours)} only in disorder, such as "
                f"{sorted(ours - theirs, key=str)[:2]}, {sorted(theirs - ours, key=str)[:2]}"
            )
        del held, again
    second.stop_all()


async def _handled(pipeline: Pipeline, records: int, limit: float) -> None:
    """Return when the workers have committed so many records."""

    async def so_many() -> bool:
        try:
            state = await pipeline.state(EARNINGS_TOPIC)
        except UnavailableError:  # a busy machine: Kafka did not answer in time
            return False
        return state.records - (state.lag or 0) >= records

    await until(so_many, f"{records} records handled", limit)
