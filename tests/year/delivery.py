"""A topic's records in a file, and their delivery in any order: a year of them does not fit into memory."""

import mmap
import random
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.kernel.publisher import KafkaPublisher
from services.kernel.settings import KafkaSettings
from services.kernel.topics import TOPICS
from services.kernel.wire import OutgoingRecord

_AT_ONCE = 2000
_POLL_MS = 1000
_REPEATED_SHARE = 0.05


class Journal:
    """The records of a topic, in a file, in the order in which they were read."""

    def __init__(self, path: Path, topic: str) -> None:
        self._path = path
        self._topic = topic
        self._ends = array("Q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    async def copy(self, kafka: KafkaSettings) -> None:
        """Take everything that the topic holds now."""
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, enable_auto_commit=False)
        await consumer.start()
        try:
            number = next(topic.partitions for topic in TOPICS if topic.name == self._topic)
            partitions = [TopicPartition(self._topic, each) for each in range(number)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            wanted = sum((await consumer.end_offsets(partitions)).values())
            encode = msgspec.msgpack.encode
            with self._path.open("wb") as file:
                while len(self) < wanted:
                    for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                        for record in records:
                            file.write(encode((record.key, record.value, record.headers)))
                            self._ends.append(file.tell())
        finally:
            await consumer.stop()

    async def deliver(self, kafka: KafkaSettings, order: Sequence[int], chance: random.Random) -> None:
        """Publish these records in this order, each into a partition drawn by chance."""
        number = next(topic.partitions for topic in TOPICS if topic.name == self._topic)
        publisher = KafkaPublisher(kafka)
        async with publisher:
            for first in range(0, len(order), _AT_ONCE):
                records = list(self._records(order[first : first + _AT_ONCE]))
                share = len(records) // number + 1
                for at in range(0, len(records), share):
                    await publisher.send(records[at : at + share], partition=chance.randrange(number))

    def _records(self, order: Sequence[int]) -> Iterator[OutgoingRecord]:
        decode = msgspec.msgpack.Decoder(tuple[bytes, bytes, list[tuple[str, bytes]]]).decode
        with self._path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for index in order:
                key, value, headers = decode(content[self._ends[index] : self._ends[index + 1]])
                yield OutgoingRecord(self._topic, key, value, headers)


def overlapping_backfills(records: int, chance: random.Random) -> "tuple[array[int], array[int]]":
    """Two orders that together have every record, a third of them twice; each is shuffled and repeats itself."""
    both = []
    for part in (range(records * 2 // 3), range(records // 3, records)):
        order = array("L", part)
        order.extend(chance.choices(part, k=int(len(part) * _REPEATED_SHARE)) if part else ())
        chance.shuffle(order)
        both.append(order)
    return both[0], both[1]
