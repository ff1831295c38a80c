"""A log of events, workers that read it, and everything that may happen to them on the way to the database.

The machine of a service adds what is published and what the tables must hold at the end.
"""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from pprint import pformat
from typing import Any, ClassVar, Final

from hypothesis import event, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from services.cache.store import apply_readings, apply_source_status
from services.earnings.source_order import follow_order
from services.earnings.store import apply_reports
from services.kernel.database import Database
from services.kernel.events import E, EarningsReport, Event, NodeReading, SourceStatus
from services.kernel.halving import Applied, apply_by_halves
from tests.property.bench import WORKERS, Bench
from tests.property.generated import NODES, is_refused, mostly
from tests.property.model import Tables
from tests.property.rows import differences
from tests.property.turns import Run, SteppedDatabase

ALL: Final = 1_000_000


@dataclass
class Partition:
    """Records in order, how they are applied and which have been, and where each worker reads on."""

    service: str
    apply: Callable[[Database, Sequence[Any]], Awaitable[Applied]]
    log: list[Event] = field(default_factory=list)
    applied: set[Event] = field(default_factory=set)
    positions: list[int] = field(default_factory=lambda: [0] * WORKERS)

    @property
    def handled(self) -> int:
        """Every record below this offset has been handled."""
        return max(self.positions)


@dataclass(frozen=True)
class Delivery:
    """A worker takes `size` records of a partition, from its position or, as a replay does, from any offset.

    Its session is ended before statement number `cut` of its transactions, commits counted.
    """

    worker: int
    partition: int
    size: int
    replay_from: int | None = None
    cut: int | None = None


@dataclass(frozen=True)
class FollowingOrder:
    """A worker of the earnings service projects again what a changed order of sources concerns."""

    worker: int
    cut: int | None = None


Doing = Delivery | FollowingOrder

_workers = st.integers(0, WORKERS - 1)
_partitions = st.integers(0, 4)
_offsets = st.integers(0, 30)
_cuts = st.integers(0, 20)
turns = st.lists(st.integers(0, WORKERS - 1), min_size=1, max_size=12)


def deliveries(cuts: st.SearchStrategy[int | None]) -> st.SearchStrategy[Delivery]:
    """Most of them read on."""
    sizes = mostly(st.integers(1, 6), st.just(ALL))
    return st.builds(Delivery, _workers, _partitions, sizes, mostly(st.none(), _offsets, 2), cuts)


def doings(cuts: st.SearchStrategy[int | None]) -> st.SearchStrategy[Doing]:
    """Most of them are deliveries."""
    return mostly(deliveries(cuts), st.builds(FollowingOrder, _workers, cuts))


class Deliveries(RuleBasedStateMachine):
    """Workers deliver what is published, in every way in which that can go wrong; at the end the rows must be right.

    Events of one node or source are in one partition. Where `in_order`, a record is never applied before those ahead of
    it in its partition were, as a consumer group has it; otherwise replays may begin anywhere, and no two events of one
    rank that say different things are published.
    """

    follows_order: ClassVar[bool] = False
    bench: ClassVar[Bench]
    seed_of_test: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        note(f"repeat with --hypothesis-seed={self.seed_of_test}")
        self.statuses = [Partition("cache", apply_source_status)]
        self.readings = [Partition("cache", apply_readings) for _ in range(2)]
        self.reports = [Partition("earnings", apply_reports) for _ in range(2)]
        self.in_order = False
        self._said: dict[Hashable, Event] = {}
        self.broken = False
        self.changed = 0  # rows, by the last delivery
        self.do(self.bench.empty())

    # To be said by the machine of a service.

    @abstractmethod
    def partitions(self) -> list[Partition]:
        """The partitions that this machine's events go to."""

    @abstractmethod
    def expected(self) -> Tables:
        """What the tables must hold after what was applied so far."""

    def before_settling(self) -> None:
        """What must still be published before the end."""

    # What the machine's own code calls.

    def do(self, work: Any) -> Any:
        """Run this on the bench; after a failure nothing more is checked."""
        try:
            return self.bench.run(work)
        except BaseException:
            self.broken = True
            raise

    def publish(self, event: Event) -> tuple[Partition, int]:
        """Append an event to its partition, and say where. One that may not contradict another repeats that instead."""
        if not self.in_order:
            event = self._said.setdefault(identity(event), event)
        match event:
            case NodeReading():
                partition = self.readings[_partition_of(event.identifier)]
            case EarningsReport():
                partition = self.reports[_partition_of(event.identifier)]
            case _:
                partition = self.statuses[0]
        partition.log.append(event)
        return partition, len(partition.log) - 1

    def applied(self, kind: type[E]) -> list[E]:
        """What was applied of this kind of event so far, those of each partition in order."""
        return [
            event
            for partition in self.partitions()
            for event in partition.log
            if isinstance(event, kind) and event in partition.applied and not is_refused(event)
        ]

    # What may happen.

    @rule(delivery=deliveries(st.none()))
    def deliver(self, delivery: Delivery) -> None:
        """A worker handles a batch, and nobody else does anything."""
        self.do(self._together([delivery], [0]))
        self.look()

    @rule(doing=doings(_cuts))
    def crash(self, doing: Doing) -> None:
        """A worker is killed at some statement of a transaction: nothing of that one is ever seen."""
        self.do(self._together([doing], [0]))
        self.look()

    @rule(
        doings=st.lists(
            doings(mostly(st.none(), _cuts)), min_size=2, max_size=WORKERS, unique_by=lambda doing: doing.worker
        ),
        on_one_partition=st.booleans(),
        turns=turns,
    )
    def work_at_once(self, doings: list[Doing], on_one_partition: bool, turns: list[int]) -> None:
        """Workers whose transactions overlap, statement by statement; some of them are killed."""
        if on_one_partition:
            doings = [replace(doing, partition=1) if isinstance(doing, Delivery) else doing for doing in doings]
        self.do(self._together(doings, turns))
        self.look()

    def race(self, events: Sequence[Event], turns: list[int]) -> None:
        """Each of these is applied by another worker at once, as by replays beside the group.

        Where order matters, by workers of the group instead: the later events only after those ahead of them.
        """
        at = [self.publish(event) for event in events]
        runs = [
            self.delivery(worker, partition, 0 if self.in_order else offset, ALL if self.in_order else 1)
            for worker, (partition, offset) in enumerate(at)
        ]
        self.do(self.run_all(runs, turns))
        self.look()

    def look(self) -> None:
        """All is quiet: the rows say what has been applied, and nothing else."""
        self.do(self._compare())

    @rule(worker=_workers, partition=_partitions, offset=_offsets)
    def hand_over(self, worker: int, partition: int, offset: int) -> None:
        """A crash before the commit of offsets, or a rebalance: a worker reads on from where somebody has been before.

        Whoever had the partition until now knows nothing of it and goes on too.
        """
        of = self._partition(partition)
        of.positions[worker] = offset % (of.handled + 1)

    def teardown(self) -> None:
        """All is quiet, everybody catches up; then every record is delivered once more, all in one batch."""
        if not self.broken:
            self.before_settling()
            self.do(self._settle())

    async def _settle(self) -> None:
        for partition in self.partitions():
            # One that nobody was ahead of.
            worker = partition.positions.index(partition.handled)
            await self.deliver_alone(worker, partition, partition.handled, 20)
        await self._compare()
        for worker, partition in enumerate(self.partitions()):
            await self.deliver_alone(worker % WORKERS, partition, 0, ALL)
            assert not partition.log or self.changed == 0, "what was applied before changes nothing"
            assert partition.applied.issuperset(event for event in partition.log if not is_refused(event))
        await self._compare()

    async def deliver_alone(self, worker: int, partition: Partition, begin: int, size: int) -> None:
        """One worker delivers everything from an offset on, in batches of this size."""
        for at in range(begin, len(partition.log), size):
            await self.run_all([self.delivery(worker, partition, at, size)], [0])
        partition.positions[worker] = len(partition.log)

    async def _compare(self) -> None:
        if self.follows_order:
            await self.bench.alone("earnings", follow_order)
        wrong = differences(await self.bench.tables(), self.expected())
        assert not wrong, pformat(wrong)

    async def _together(self, doings: list[Doing], turns: list[int]) -> None:
        await self.run_all([self._run(doing) for doing in doings], turns)

    async def run_all(self, runs: list[Run], turns: list[int]) -> None:
        """Do these; only who was killed may fail. All lock in one order, so that there are no deadlocks either."""
        await self.bench.take_turns(runs, turns)
        failed = [run.failure for run in runs if run.failure is not None and not run.was_cut]
        assert not failed, pformat(failed)
        if len(runs) > 1:
            event("some waited for a lock" if any(run.waited for run in runs) else "nobody waited")

    def _partition(self, number: int) -> Partition:
        """One that has records, if there is any."""
        partitions = self.partitions()
        partitions = [partition for partition in partitions if partition.log] or partitions
        return partitions[number % len(partitions)]

    def _run(self, doing: Doing) -> Run:
        if isinstance(doing, FollowingOrder):  # nothing to do where there are no earnings
            return self.bench.task("earnings", doing.worker, follow_order, doing.cut)
        partition = self._partition(doing.partition)
        if doing.replay_from is not None:
            begin = doing.replay_from % ((partition.handled if self.in_order else len(partition.log)) + 1)
        else:  # who has read everything repeats the end
            begin = min(partition.positions[doing.worker], max(0, len(partition.log) - doing.size))
        return self.delivery(doing.worker, partition, begin, doing.size, doing)

    def delivery(self, worker: int, partition: Partition, begin: int, size: int, asked: Delivery | None = None) -> Run:
        """A worker handles these records as its consumer does; where it was asked to read on, it then stands behind."""
        batch = partition.log[begin : begin + size]

        async def deliver(database: SteppedDatabase) -> None:
            async def apply(events: Sequence[Event]) -> Applied:
                outcome = await partition.apply(database, events)
                partition.applied.update(events)
                assert sum(outcome) == len(events), outcome
                assert min(outcome) >= 0, outcome
                return outcome

            applied, refused = await apply_by_halves(batch, apply)
            self.changed = applied.changed
            lost = [(batch[place], error) for place, error in refused if not is_refused(batch[place])]
            assert not lost, pformat(lost)
            if asked is not None and asked.replay_from is None and batch:
                partition.positions[worker] = begin + len(batch)

        return self.bench.task(partition.service, worker, deliver, asked.cut if asked else None)


def identity(event: Event) -> Hashable:
    """What no two events share that say different things. Of reports the whole content decides which one wins."""
    match event:
        case NodeReading():
            return event.identifier, event.source, event.observed_at, is_refused(event)
        case SourceStatus():
            return event.source, event.reported_at
    return event


def _partition_of(node: str) -> int:
    return list(NODES).index(node) % 2
