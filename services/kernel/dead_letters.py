"""Dead letters: records that can never be applied, kept whole, with the reason, in `<topic>.dlq`.

A letter is identified by the topic, partition and offset its record had. Its value, key and headers are untouched; what
is added stands in headers of its own.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from aiokafka import ConsumerRecord

from services.kernel.errors import Reason
from services.kernel.topics import dead_letter_topic
from services.kernel.wire import OutgoingRecord

PREFIX = "minegnk_dlq_"
_ERROR_LIMIT = 500


class DeadLetter(NamedTuple):
    """A record and why it was rejected."""

    record: ConsumerRecord
    reason: Reason
    error: str


class RecordSender(Protocol):
    """Sends records and returns once Kafka has acknowledged every one of them."""

    async def send(self, records: Iterable[OutgoingRecord]) -> None:
        """Raise KafkaError when one was not acknowledged."""


def letter(dead: DeadLetter) -> OutgoingRecord:
    """The dead letter as a record of the dead-letter topic."""
    record = dead.record
    added = {
        "reason": dead.reason.value,
        "error": dead.error.replace("\x00", " ")[:_ERROR_LIMIT],
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp),
    }
    headers = [*record.headers, *((PREFIX + name, text.encode()) for name, text in added.items())]
    return OutgoingRecord(dead_letter_topic(record.topic), record.key, record.value, headers)
