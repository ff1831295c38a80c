"""Batches of decoded records, and the one that waits while others are handled."""

import asyncio
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeAlias

from aiokafka import TopicPartition

from services.kernel.dead_letters import DeadLetter
from services.kernel.events import E

Offsets: TypeAlias = "array[int]"


def offsets(values: Iterable[int] = ()) -> Offsets:
    """Offsets in eight bytes each."""
    return array("q", values)


@dataclass(slots=True)
class Run(Generic[E]):
    """Good records of one partition and poll: the one at offsets[i] carried events[i].

    The records themselves are not kept: they take more memory than their events, and the few that are wanted again, to
    become dead letters, are read again.
    """

    partition: TopicPartition
    events: list[E] = field(default_factory=list)
    offsets: Offsets = field(default_factory=offsets)


@dataclass(slots=True)
class Batch(Generic[E]):
    """Records of one poll, or of several that followed each other, decoded."""

    poll: int
    ownership: int  # Polling.ownership at that poll
    oldest_ms: int
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    runs: list[Run[E]] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(run.events) for run in self.runs) + len(self.letters)

    def events(self) -> list[E]:
        """The good records' events."""
        return [event for run in self.runs for event in run.events]

    def offset_of(self, place: int) -> tuple[TopicPartition, int]:
        """Where the record stands that carried events()[place]."""
        for run in self.runs:
            if place < len(run.offsets):
                return run.partition, run.offsets[place]
            place -= len(run.offsets)
        raise IndexError(place)

    def extend(self, later: "Batch[E]") -> None:
        """Append a later poll's records, of the same ownership."""
        self.oldest_ms = min(self.oldest_ms, later.oldest_ms)
        self.offsets.update(later.offsets)
        self.runs += later.runs
        self.letters += later.letters

    def without(self, partitions: set[TopicPartition]) -> "Batch[E]":
        """The batch without what came from these partitions."""
        numbers = {partition.partition for partition in partitions}
        return Batch(
            self.poll,
            self.ownership,
            self.oldest_ms,
            {partition: offset for partition, offset in self.offsets.items() if partition not in partitions},
            [run for run in self.runs if run.partition not in partitions],
            [dead for dead in self.letters if dead.record.partition not in numbers],
        )


class Waiting(Generic[E]):
    """The next batch to be handled. It grows while those before it are handled, up to `max_batch` records.

    So batches are small while there is time, and large while there is none.
    """

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._batch: Batch[E] | None = None
        self._more = False  # whether something did not fit
        self.changed = asyncio.Event()
        """Set when a batch waits, is large, or did not fit; whoever waits for it clears it."""
        self.room = asyncio.Event()
        """Set while no batch waits."""
        self.room.set()

    def __bool__(self) -> bool:
        return self._batch is not None

    @property
    def is_large(self) -> bool:
        """Whether there is a backlog: half of what fits, or no room for what came next."""
        return self._batch is not None and (self._more or 2 * len(self._batch) >= self._max_batch)

    def put(self, batch: Batch[E]) -> bool:
        """Let the batch wait, with the one that waits already. False when it does not fit, or has another owner."""
        fits = True
        if self._batch is None:
            self._batch = batch
            self.room.clear()
            self.changed.set()
        elif self._batch.ownership == batch.ownership and len(self._batch) + len(batch) <= self._max_batch:
            self._batch.extend(batch)
        else:
            fits, self._more = False, True
        if self.is_large:
            self.changed.set()
        return fits

    def take(self) -> Batch[E]:
        """The batch that waits. Raises LookupError when none does."""
        if self._batch is None:
            raise LookupError("no batch waits")
        batch, self._batch, self._more = self._batch, None, False
        self.room.set()
        return batch
