"""Watches a run from outside: committed offsets over time, and how many records the workers have read."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from prometheus_client.parser import text_string_to_metric_families

from services.cli.snapshot import GROUPS
from services.kernel.settings import KafkaSettings
from tests.chaos.cluster import Cluster, Running

_INTERVAL_SECONDS = 0.25
_PATIENCE_SECONDS = 3.0
_POLLED = "minegnk_consumer_polled_records_total"

Offsets = Mapping[TopicPartition, int]


@dataclass(frozen=True)
class Sample:
    """What was committed (absent: nothing yet) and where the partitions ended, at a moment of the monotonic clock."""

    asked: float
    answered: float
    committed: Offsets
    ends: Offsets

    @property
    def lag(self) -> int:
        """Records not yet handled."""
        return sum(end - self.committed.get(partition, 0) for partition, end in self.ends.items())


def recovery(samples: Sequence[Sample], after: float, partitions: Iterable[TopicPartition]) -> float | None:
    """Seconds from `after` until each of these partitions has moved; None when one never did, though it had records.

    Measured from the first sample that was asked for after that moment: nothing of what moved before counts.
    """
    later = [sample for sample in samples if sample.asked >= after]
    if not later:
        return None
    first, moved_at = later[0], after
    for partition in partitions:
        before = first.committed.get(partition, 0)
        if all(sample.ends[partition] == before for sample in later):
            continue
        moved = next((s.answered for s in later if s.committed.get(partition, 0) > before), None)
        if moved is None:
            return None
        moved_at = max(moved_at, moved)
    return moved_at - after


class OffsetReader:
    """Reads committed offsets and ends of all data topics, past the proxies."""

    def __init__(self, kafka: KafkaSettings) -> None:
        servers = kafka.bootstrap_servers
        self._admin = AIOKafkaAdminClient(bootstrap_servers=servers, request_timeout_ms=3_000)
        self._consumer = AIOKafkaConsumer(bootstrap_servers=servers, request_timeout_ms=3_000)
        self._partitions: list[TopicPartition] = []

    async def __aenter__(self) -> "OffsetReader":
        try:
            await self._admin.start()
            await self._consumer.start()
            for description in await self._admin.describe_topics(list(GROUPS)):
                self._partitions += [
                    TopicPartition(description["topic"], partition["partition"])
                    for partition in description["partitions"]
                ]
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(KafkaError, OSError):
            await self._consumer.stop()
            await self._admin.close()

    async def read(self) -> Sample:
        """One sample. Raises KafkaError."""
        asked = time.monotonic()
        committed: dict[TopicPartition, int] = {}
        for group in GROUPS.values():
            with suppress(GroupCoordinatorNotAvailableError):  # no group has ever committed on this broker
                found = await self._admin.list_consumer_group_offsets(group)
                committed |= {partition: held.offset for partition, held in found.items() if held.offset >= 0}
        ends = await self._consumer.end_offsets(self._partitions)
        return Sample(asked, time.monotonic(), committed, ends)


@dataclass
class Observer:
    """Samples offsets and metrics while the block of `watching` runs."""

    cluster: Cluster
    samples: list[Sample] = field(default_factory=list)
    polled: dict[int, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))  # pid → topic → records

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Sample until the block ends."""
        tasks = [asyncio.create_task(self._offsets()), asyncio.create_task(self._metrics())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def count(self, running: Running) -> None:
        """Note how much a worker has read so far, if it answers."""
        with suppress(httpx.HTTPError):
            async with httpx.AsyncClient(trust_env=False, timeout=1) as client:
                reply = await client.get(f"http://127.0.0.1:{running.metrics_port}/metrics")
            for family in text_string_to_metric_families(reply.text):
                for sample in family.samples:
                    if sample.name == _POLLED:
                        self.polled[running.pid][sample.labels["topic"]] = sample.value

    def records_read(self) -> int:
        """Records that all workers have read, repeated ones included."""
        return int(sum(sum(topics.values()) for topics in self.polled.values()))

    async def _metrics(self) -> None:
        while True:
            await asyncio.gather(*(self.count(running) for running in self.cluster.workers if running.alive))
            await asyncio.sleep(1)

    async def _offsets(self) -> None:
        while True:
            with suppress(KafkaError, OSError, TimeoutError):
                async with OffsetReader(self.cluster.direct.kafka) as reader:
                    while True:
                        async with asyncio.timeout(_PATIENCE_SECONDS):
                            self.samples.append(await reader.read())
                        await asyncio.sleep(_INTERVAL_SECONDS)
            await asyncio.sleep(_INTERVAL_SECONDS)
