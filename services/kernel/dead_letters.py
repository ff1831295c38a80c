"""Dead letters: records that can never be applied, kept whole, with the reason, in `<topic>.dlq`.

A letter is identified by the topic, partition and offset its record had. Its value, key and headers are untouched; what
is added stands in headers of its own.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from aiokafka import ConsumerRecord
from aiokafka.errors import MessageSizeTooLargeError

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
    content_known: bool = True  # not of a record that cannot be read, or no longer


class RecordSender(Protocol):
    """Sends records and returns once Kafka has acknowledged every one of them."""

    async def send(self, records: Iterable[OutgoingRecord]) -> None:
        """Raise KafkaError when one was not acknowledged."""


async def send_letters(sender: RecordSender, letters: Sequence[DeadLetter]) -> None:
    """Send the letters; returns once Kafka has acknowledged every one of them.

    A value that even the dead-letter topic is too small for, or that cannot be read, is left out, and the letter says
    so: its topic, partition and offset still find the record for as long as the source topic keeps it.
    """
    try:
        await sender.send([letter(dead) for dead in letters])
    except MessageSizeTooLargeError:
        for dead in letters:
            try:
                await sender.send([letter(dead)])
            except MessageSizeTooLargeError:
                await sender.send([letter(dead, with_value=False)])


def letter(dead: DeadLetter, *, with_value: bool = True) -> OutgoingRecord:
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
    with_value = with_value and dead.content_known
    if not with_value:
        added["value"] = "omitted"
    headers = [*record.headers, *((PREFIX + name, text.encode()) for name, text in added.items())]
    return OutgoingRecord(dead_letter_topic(record.topic), record.key, record.value if with_value else None, headers)
