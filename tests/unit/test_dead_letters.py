from collections.abc import Iterable

from aiokafka import ConsumerRecord
from aiokafka.errors import MessageSizeTooLargeError

from services.kernel.dead_letters import DeadLetter, send_letters
from services.kernel.errors import Reason
from services.kernel.wire import OutgoingRecord


class SmallTopic:
    """Takes records of up to ten bytes, each request as a whole or not at all."""

    def __init__(self) -> None:
        self.taken: list[OutgoingRecord] = []

    async def send(self, records: Iterable[OutgoingRecord]) -> None:
        sent = list(records)
        if any(len(record.value or b"") > 10 for record in sent):
            raise MessageSizeTooLargeError("too large")
        self.taken += sent


def dead(offset: int, value: bytes) -> DeadLetter:
    record = ConsumerRecord(
        topic="node.readings.v1",
        partition=3,
        offset=offset,
        timestamp=1_700_000_000_000,
        timestamp_type=1,
        key=b"k",
        value=value,
        checksum=None,
        serialized_key_size=1,
        serialized_value_size=len(value),
        headers=(("trace", b"t"),),
    )
    return DeadLetter(record, Reason.UNDECODABLE, "not JSON")


async def test_a_letter_carries_the_record_untouched_and_where_it_came_from() -> None:
    topic = SmallTopic()
    await send_letters(topic, [dead(7, b"{")])
    (letter,) = topic.taken
    assert (letter.topic, letter.key, letter.value) == ("node.readings.v1.dlq", b"k", b"{")
    assert dict(letter.headers) == {
        "trace": b"t",
        "minegnk_dlq_reason": b"undecodable",
        "minegnk_dlq_error": b"not JSON",
        "minegnk_dlq_topic": b"node.readings.v1",
        "minegnk_dlq_partition": b"3",
        "minegnk_dlq_offset": b"7",
        "minegnk_dlq_timestamp": b"1700000000000",
    }


async def test_a_value_that_fits_nowhere_is_left_out_and_the_letter_says_so() -> None:
    topic = SmallTopic()
    await send_letters(topic, [dead(1, b"{"), dead(2, b"x" * 11)])
    assert [letter.value for letter in topic.taken] == [b"{", None]
    assert dict(topic.taken[1].headers)["minegnk_dlq_value"] == b"omitted"
