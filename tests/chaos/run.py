"""One run: a schedule of faults on real processes under load, and the accounts afterwards."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from services.kernel.publisher import KafkaPublisher
from tests.chaos.accounting import Accounts, account
from tests.chaos.cluster import TOPIC_OF, Cluster, Running
from tests.chaos.load import Sent, load, source_statuses
from tests.chaos.observer import Observer, recovery
from tests.chaos.proxy import BOTH, Direction, Weather
from tests.chaos.schedule import Fault, Kind, Schedule, schedule
from tests.integration.pipeline import until

TAKE_OVER_SECONDS = 15.0
"""From a worker's kill -9 until others have moved each of its partitions."""

_DRAIN_SECONDS = 150.0
_TICK_SECONDS = 0.1


@dataclass
class Happened:
    """A fault and when it was, by the monotonic clock. `partitions` were those of a worker that was killed."""

    fault: Fault
    began: float
    ended: float = float("inf")
    partitions: list[TopicPartition] = field(default_factory=list)


@dataclass
class Outcome:
    """How a run ended."""

    schedule: Schedule
    accounts: Accounts
    faults: Counter[Kind]
    restarts: int
    refused_starts: int  # while a server was away: not a restart each, but one that took several attempts
    redelivered: int
    take_overs: list[float]  # seconds from a kill -9 to progress of all of its partitions, where nothing else disturbed
    returns: dict[str, list[float]]  # seconds from a server's return to progress of both topics
    seconds: float
    failures: list[str]

    @property
    def passed(self) -> bool:
        """Whether nothing was lost, counted twice or wrong, and no process did what it must not."""
        return self.accounts.balanced and not self.failures

    def __str__(self) -> str:
        returns = ", ".join(f"{name} {_figures(seconds)}" for name, seconds in self.returns.items())
        return "\n".join(
            [
                f"seed {self.schedule.seed}: {'passed' if self.passed else 'FAILED'} after {self.seconds:.0f} s",
                f"  faults: {', '.join(f'{number} {kind}' for kind, number in self.faults.items())}",
                f"  {self.restarts} restarts ({self.refused_starts} refused), {self.redelivered} records redelivered",
                f"  kill -9 to progress: {_figures(self.take_overs)}; return to progress: {returns}",
                f"  {self.accounts}",
                *(f"  failure: {failure}" for failure in self.failures),
            ]
        )


def _figures(seconds: Sequence[float]) -> str:
    return f"{', '.join(f'{each:.1f}' for each in seconds) or '-'} s"


class Run:
    """Runs a schedule on a cluster."""

    def __init__(self, plan: Schedule, cluster: Cluster, records: Sequence[Sent]) -> None:
        self._plan = plan
        self._cluster = cluster
        self._records = records
        self._observer = Observer(cluster)
        self._happened: list[Happened] = []
        self._began = 0.0

    async def run(self) -> Outcome:
        """From the first worker to the accounts."""
        started = time.monotonic()
        for service, number in self._plan.workers.items():
            for _ in range(number):
                self._cluster.start(service)
        await sources_known(self._cluster)
        for running in self._cluster.workers:
            await self._cluster.ready(running)
        async with self._observer.watching():
            self._began = time.monotonic()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._publish())
                tasks.create_task(self._lane(self._plan.worker_faults))
                tasks.create_task(self._lane(self._plan.server_faults))
            await self._drained()
            for running in self._cluster.workers:
                await self._observer.count(running)
        await self._cluster.stop_workers()
        accounts = await account(self._cluster.direct, self._records)
        take_overs = self._take_overs()
        failures = list(self._cluster.failures)
        failures += [f"take-over took {s:.1f} s" for s in take_overs if s >= TAKE_OVER_SECONDS]
        return Outcome(
            self._plan,
            accounts,
            Counter(each.fault.kind for each in self._happened),
            len(self._cluster.workers) - sum(self._plan.workers.values()) - self._cluster.refused_starts,
            self._cluster.refused_starts,
            max(0, self._observer.records_read() - accounts.records - len(source_statuses(datetime.now(UTC)))),
            take_overs,
            {name: self._returns(name) for name in ("postgres", "kafka")},
            time.monotonic() - started,
            failures,
        )

    # Load.

    async def _publish(self) -> None:
        """Publish everything in equal parts over the schedule, past the proxies, until Kafka has acknowledged it."""
        done = 0
        while done < len(self._records):
            # After an error, what was under way is sent again: some of it may then be there twice.
            with suppress(KafkaError):
                publisher = KafkaPublisher(self._cluster.direct.kafka)
                async with publisher:
                    while done < len(self._records):
                        share = (time.monotonic() - self._began) / self._plan.seconds
                        due = min(len(self._records), int(share * len(self._records)) + 1)
                        await publisher.send(each.record for each in self._records[done:due])
                        done = due
                        await asyncio.sleep(_TICK_SECONDS)

    async def _drained(self) -> None:
        published = time.monotonic()

        async def without_lag() -> bool:
            newest = self._observer.samples[-1]
            return newest.asked > published and newest.lag == 0

        try:
            await until(without_lag, "no lag", _DRAIN_SECONDS)
        except AssertionError:
            lag = self._observer.samples[-1].lag
            self._cluster.failures.append(f"{lag} records wait after {_DRAIN_SECONDS:g} s")
            self._cluster.failures += [f"still there: {running.worker}" for running in self._cluster.workers]

    # Faults.

    async def _lane(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            await asyncio.sleep(max(0.0, self._began + fault.at - time.monotonic()))
            happened = Happened(fault, time.monotonic())
            self._happened.append(happened)
            if fault.kind in _OF_WORKERS:
                await self._to_worker(happened)
            else:
                await self._to_server(happened)
            if happened.ended == float("inf"):
                happened.ended = time.monotonic()

    async def _to_worker(self, happened: Happened) -> None:
        cluster, fault = self._cluster, happened.fault
        if fault.kind is Kind.JOIN:
            cluster.start(fault.target)
            return
        victim = await self._victim(fault.target)
        if victim is None:
            self._happened.remove(happened)  # everybody is being started again
            return
        await self._observer.count(victim)
        match fault.kind:
            case Kind.KILL:
                partitions = victim.partitions
                cluster.kill(victim)
                happened.ended = time.monotonic()
                happened.partitions = [TopicPartition(TOPIC_OF[fault.target], number) for number in partitions]
                cluster.start(fault.target)
            case Kind.TERMINATE:
                await cluster.terminate(victim)
                cluster.start(fault.target)
            case Kind.LEAVE:
                await cluster.terminate(victim)
            case Kind.PAUSE:
                cluster.freeze(victim)
                await asyncio.sleep(fault.seconds)
                cluster.thaw(victim)

    async def _victim(self, service: str) -> Running | None:
        """A worker that holds partitions, if there is one soon: the one that has had them for longest."""

        async def holder() -> bool:
            return any(running.partitions for running in self._cluster.of(service))

        with suppress(AssertionError):
            await until(holder, "a worker that holds partitions", 10)
        return next(iter(self._cluster.of(service)), None)

    async def _to_server(self, happened: Happened) -> None:
        cluster, fault = self._cluster, happened.fault
        proxy = cluster.proxies[fault.target]
        if fault.kind in (Kind.CRASH, Kind.AWAY):
            await cluster.kill_server(fault.target)
            await asyncio.sleep(fault.seconds)
            await cluster.start_server(fault.target)
        else:
            swallow = BOTH if fault.swallow == "both" else frozenset(Direction(d) for d in [fault.swallow] if d)
            latency = fault.latency_seconds
            proxy.change(Weather(latency, latency, cut=fault.kind is Kind.CUT, swallow=swallow))
            await asyncio.sleep(fault.seconds)
            proxy.heal(reset_dead=fault.reset)

    # Figures.

    def _take_overs(self) -> list[float]:
        """Of every kill -9 after which nothing else happened to its service until its partitions moved."""
        found = []
        for kill in self._happened:
            if kill.fault.kind is Kind.KILL:
                seconds = recovery(self._observer.samples, kill.ended, kill.partitions)
                seconds = float("inf") if seconds is None else seconds
                if seconds and not self._disturbed(kill, min(seconds, TAKE_OVER_SECONDS)):
                    found.append(seconds)
        return found

    def _returns(self, server: str) -> list[float]:
        """Seconds until each topic moved after the server, or connections to it, had been away."""
        found = []
        for away in self._happened:
            if away.fault.target == server and away.fault.kind in _PARTING:
                for topic in TOPIC_OF.values():
                    every = [
                        recovery(self._observer.samples, away.ended, [TopicPartition(topic, n)]) for n in range(12)
                    ]
                    seconds = min((each for each in every if each), default=0.0)
                    if seconds and not self._disturbed(away, seconds):
                        found.append(seconds)
        return found

    def _disturbed(self, happened: Happened, seconds: float) -> bool:
        """Whether something else concerned the same ones between the fault and its recovery."""
        others = (each for each in self._happened if each is not happened)
        return any(
            other.began < happened.ended + seconds
            and other.ended > happened.began
            and (other.fault.kind not in _OF_WORKERS or other.fault.target == happened.fault.target)
            for other in others
        )


_OF_WORKERS = (Kind.KILL, Kind.TERMINATE, Kind.PAUSE, Kind.JOIN, Kind.LEAVE)
_PARTING = (Kind.CRASH, Kind.AWAY, Kind.CUT, Kind.HALF_OPEN)


async def sources_known(cluster: Cluster) -> None:
    """Preferences and orders stand in the database before the first record that they concern. Needs a cache worker."""
    statuses = source_statuses(datetime.now(UTC))
    await cluster.direct.publish(statuses)

    async def known() -> bool:
        return await cluster.direct.rows("SELECT count(*) FROM tracker_sources") == [(len(statuses),)]

    await until(known, "sources known", 60)


async def run_schedule(seed: int, seconds: float, events: int, directory: Path) -> Outcome:
    """Run the schedule of a seed with a load of that many events, in a folder of its own."""
    plan = schedule(seed, seconds)
    chance = random.Random(seed)
    records = load(chance, events, datetime.now(UTC))
    async with Cluster(directory, chance) as cluster:
        return await Run(plan, cluster, records).run()
