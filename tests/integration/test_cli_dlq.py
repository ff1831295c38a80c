"""`minegnk dlq` on a real Kafka: what an operator finds, returns and drops; repeating any of it is harmless."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaConnectionError
from typer.testing import CliRunner

from services.cli.main import create_app
from services.cli.snapshot import TopicReader
from services.kernel.dead_letters import DeadLetter, letter, send_letters
from services.kernel.errors import Reason
from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC, SOURCE_STATUS_TOPIC, NodeReading
from services.kernel.letters import Letter, Place, State, mark_of, read_letters, return_letters
from services.kernel.publisher import KafkaPublisher
from services.kernel.topics import dead_letter_topic
from services.kernel.wire import OutgoingRecord, encode
from tests.integration.pipeline import (
    REPOSITORY,
    Pipeline,
    publish_unreadable,
    records_of,
    recreate_topics,
)

pytestmark = pytest.mark.integration

DLQ = dead_letter_topic(READINGS_TOPIC)
TRICKY_HEADERS = [
    ("binary", b"\x00\xff"),
    ("empty", b""),
    ("minegnk_dlq_mark", b"dropped"),
    ("minegnk_dlq_reason", b"mine"),
    ("binary", b"again"),
]


@pytest.fixture(autouse=True)
async def clean(pipeline: Pipeline) -> None:
    await recreate_topics(pipeline.kafka)


@pytest.fixture(autouse=True)
def stopped_at_the_end(pipeline: Pipeline) -> Iterator[None]:
    yield
    pipeline.stop_all()


def dlq(pipeline: Pipeline, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command as a process of its own."""
    process = subprocess.run(
        [sys.executable, "-m", "services", "dlq", *arguments],
        env=pipeline.environment(),
        cwd=REPOSITORY,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in process.stderr, process.stderr
    return process


def done(pipeline: Pipeline, *arguments: str) -> str:
    """Run a command that must succeed, in this process, which is quicker; what it says."""
    with ThreadPoolExecutor(1) as thread:  # a command has an event loop of its own
        run = thread.submit(CliRunner().invoke, create_app(), ["dlq", *arguments], env=pipeline.environment())
        result = run.result()
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def listed(pipeline: Pipeline, *arguments: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in done(pipeline, "list", "--json", *arguments).splitlines()]


def offsets(pipeline: Pipeline, *arguments: str) -> list[object]:
    return [each["offset"] for each in listed(pipeline, *arguments)]


def reading(identifier: str, observed_at: datetime | None = None) -> NodeReading:
    return NodeReading(
        identifier=identifier,
        identifier_type="wallet",
        source="hyperfusion",
        observed_at=observed_at or datetime.now(UTC) - timedelta(minutes=1),
        status="healthy",
    )


def dead(
    offset: int,
    *,
    topic: str = READINGS_TOPIC,
    partition: int = 3,
    reason: Reason = Reason.UNDECODABLE,
    original: OutgoingRecord | None = None,
    known: bool = True,
) -> DeadLetter:
    """The letter of a record that stood there, whether or not it does."""
    sent = original or OutgoingRecord(topic, f"gonka1key{offset}".encode(), b"{bad", [])
    record = ConsumerRecord(
        topic, partition, offset, 1_700_000_000_000, 1, sent.key, sent.value, None, 0, 0, tuple(sent.headers)
    )
    return DeadLetter(record, reason, f"what is wrong with {offset}", content_known=known)


async def bury(pipeline: Pipeline, *letters: DeadLetter, partition: int | None = None) -> None:
    """Put letters into their dead-letter topics, as a consumer does."""
    publisher = KafkaPublisher(pipeline.kafka)
    async with publisher:
        if partition is None:
            await send_letters(publisher, letters)
        else:
            await publisher.send(map(letter, letters), partition=partition)


async def sent_to(pipeline: Pipeline, topic: str = READINGS_TOPIC) -> list[OutgoingRecord]:
    """The topic's records, as they were sent."""
    return [
        OutgoingRecord(record.topic, record.key, record.value, list(record.headers))
        for record in await records_of(pipeline.kafka, topic)
    ]


async def open_letters(pipeline: Pipeline) -> int:
    return (await pipeline.state(READINGS_TOPIC)).dead_letters


# Returning letters.


async def test_what_a_worker_refused_is_applied_after_the_fault_is_mended_and_the_letter_returned(
    pipeline: Pipeline,
) -> None:
    await pipeline.empty_tables()
    await pipeline.execute("ALTER TABLE nodes ADD CONSTRAINT refused CHECK (identifier <> 'gonka1refused')")
    good, refused = encode(reading("gonka1good")), encode(reading("gonka1refused"))
    refused = refused._replace(headers=[*TRICKY_HEADERS, *refused.headers])
    await pipeline.send([good, refused], partition=5)
    worker = pipeline.start("cache")
    await pipeline.drained(READINGS_TOPIC)
    await pipeline.execute("ALTER TABLE nodes DROP CONSTRAINT refused")
    assert await open_letters(pipeline) == 1
    table = done(pipeline, "list")
    assert "gonka1refused" in table
    assert "1 letter open: 1 refused_by_database" in table

    assert done(pipeline, "retry", "--reason", "refused_by_database") == "1 letter returned to their topics.\n"
    await pipeline.drained(READINGS_TOPIC)
    assert worker.process.poll() is None
    assert await pipeline.rows("SELECT identifier FROM nodes ORDER BY 1") == [("gonka1good",), ("gonka1refused",)]
    assert sorted(await sent_to(pipeline)) == sorted([good, refused, refused]), "value, key and headers untouched"
    assert await open_letters(pipeline) == 0


async def test_a_reading_of_the_future_is_applied_once_its_time_has_come(pipeline: Pipeline) -> None:
    await pipeline.empty_tables()
    early = encode(reading("gonka1early"))
    await bury(pipeline, dead(7, reason=Reason.IN_THE_FUTURE, original=early))
    done(pipeline, "retry", "--all-letters")
    pipeline.start("cache")
    await pipeline.drained(READINGS_TOPIC)
    assert await pipeline.rows("SELECT identifier FROM nodes") == [("gonka1early",)]
    assert await sent_to(pipeline) == [early]


async def test_returning_again_returns_nothing(pipeline: Pipeline) -> None:
    await bury(pipeline, *(dead(offset) for offset in range(20)))
    assert done(pipeline, "retry", "--yes") == "20 letters returned to their topics.\n"
    assert done(pipeline, "retry", "--yes") == "No open dead letter matches (20 letters done already).\n"
    assert len(await sent_to(pipeline)) == 20


async def test_a_record_without_key_or_without_value_is_returned_as_it_was(pipeline: Pipeline) -> None:
    records = [
        OutgoingRecord(READINGS_TOPIC, None, b"\xff\x00", []),
        OutgoingRecord(READINGS_TOPIC, b"gonka1gone", None, []),
        OutgoingRecord(READINGS_TOPIC, None, None, []),
        OutgoingRecord(READINGS_TOPIC, b"", b"", []),
    ]
    await bury(pipeline, *(dead(offset, original=record) for offset, record in enumerate(records)))
    done(pipeline, "retry", "--yes")
    found = await sent_to(pipeline)
    assert len(found) == len(records)
    assert all(record in found for record in records)


class FailingSender:
    """A publisher whose process dies when it has sent some records."""

    def __init__(self, publisher: KafkaPublisher, records: int) -> None:
        self._publisher = publisher
        self._left = records

    async def send(self, records: Iterable[OutgoingRecord], *, partition: int | None = None) -> None:
        if self._left == 0:
            raise KafkaConnectionError("gone")
        sent = list(records)
        self._left -= len(sent)
        await self._publisher.send(sent, partition=partition)


async def all_letters(pipeline: Pipeline) -> list[Letter]:
    async with TopicReader(pipeline.kafka) as reader:
        return await read_letters(pipeline.kafka, await reader.span(DLQ))


async def test_an_end_between_sending_and_marking_leaves_the_letter_open_and_a_repetition_closes_it(
    pipeline: Pipeline,
) -> None:
    await bury(pipeline, *(dead(offset) for offset in range(5)), partition=1)
    publisher = KafkaPublisher(pipeline.kafka)
    async with publisher:
        with pytest.raises(KafkaConnectionError):
            await return_letters(pipeline.kafka, FailingSender(publisher, records=5), await all_letters(pipeline))
    assert len(await sent_to(pipeline)) == 5
    assert await open_letters(pipeline) == 5, "no mark stands before its record was acknowledged"

    assert done(pipeline, "retry", "--yes") == "5 letters returned to their topics.\n"
    returned = await sent_to(pipeline)
    assert len(returned) == 10, "sent again, which a merge does not notice"
    assert {record.value for record in returned} == {b"{bad"}
    assert await open_letters(pipeline) == 0


async def test_many_letters_are_returned_and_marked_some_at_a_time(pipeline: Pipeline) -> None:
    await bury(pipeline, *(dead(offset) for offset in range(1200)))
    publisher = KafkaPublisher(pipeline.kafka)
    async with publisher:
        sender = FailingSender(publisher, records=2 * 500 + 2 * 500)  # two batches and their marks
        with pytest.raises(KafkaConnectionError):
            await return_letters(pipeline.kafka, sender, await all_letters(pipeline))
    assert await open_letters(pipeline) == 200
    assert done(pipeline, "retry", "--yes") == "200 letters returned to their topics.\n"
    assert len(await sent_to(pipeline)) == 1200


async def test_a_dry_run_says_what_would_come_back_and_changes_nothing(pipeline: Pipeline) -> None:
    mended = encode(reading("gonka1mended"))
    hopeless = OutgoingRecord(READINGS_TOPIC, b"k", None, [])
    await bury(pipeline, dead(1), dead(2, original=mended), dead(3, original=hopeless), dead(4, known=False))
    assert done(pipeline, "retry", "--dry-run") == (
        "3 letters would be returned to their topics, and of these 2 rejected again (1 tombstone, 1 undecodable); "
        "1 cannot be returned, since their record is gone or cannot be read.\n"
    )
    assert await sent_to(pipeline) == []
    assert await open_letters(pipeline) == 4


# Letters without their value.


async def test_a_value_that_was_left_out_is_fetched_from_the_topic(pipeline: Pipeline) -> None:
    original = OutgoingRecord(READINGS_TOPIC, b"k", b"x" * 1000, TRICKY_HEADERS)
    await pipeline.send([original._replace(value=b"another"), original], partition=3)
    await bury(pipeline, dead(1, known=False))
    assert "1,000 bytes (left out of the letter, read from the topic)" in done(pipeline, "show", "readings", "3", "1")
    done(pipeline, "retry", "--topic", "readings", "--partition", "3", "--offset", "1")
    found = await sent_to(pipeline)
    assert len(found) == 3
    assert found.count(original) == 2
    assert await open_letters(pipeline) == 0


async def test_a_record_that_is_gone_or_cannot_be_read_stays_open_and_is_named(pipeline: Pipeline) -> None:
    await publish_unreadable(pipeline.kafka, READINGS_TOPIC, partition=3)
    await bury(pipeline, dead(0, known=False), dead(77, known=False), dead(5))
    process = dlq(pipeline, "retry", "--yes")
    assert process.returncode == 1
    assert process.stdout == "1 letter returned to their topics.\n"
    *named, told = process.stderr.splitlines()
    assert sorted(named) == [
        "node.readings.v1, partition 3, offset 0: neither its letter nor its topic has the record in a readable form.",
        "node.readings.v1, partition 3, offset 77: neither its letter nor its topic has the record in a readable form.",
    ]
    assert told == ("minegnk: 2 letters could not be returned and stay open: `minegnk dlq drop` settles them.")
    assert sorted(map(str, offsets(pipeline))) == ["0", "77"]
    assert "does not have the record any more or it cannot be read" in done(pipeline, "show", "readings", "3", "77")


async def test_a_record_that_its_topic_does_not_take_stays_open_and_the_others_are_returned(pipeline: Pipeline) -> None:
    large = OutgoingRecord(READINGS_TOPIC, b"k", os.urandom(1_500_000), [])
    compressible = OutgoingRecord(READINGS_TOPIC, b"k", b"x" * 1_500_000, [])
    await bury(pipeline, dead(1), dead(2, original=large), dead(3, original=compressible), dead(4))
    process = dlq(pipeline, "retry", "--yes")
    assert process.returncode == 1
    assert "offset 2: its topic does not take a record of that size" in process.stderr
    assert process.stdout == "3 letters returned to their topics.\n"
    assert offsets(pipeline) == [2]
    assert compressible in await sent_to(pipeline)


# One letter, however often it stands there.


async def test_a_letter_that_was_sent_twice_is_one_and_stays_done_when_it_comes_again(pipeline: Pipeline) -> None:
    await bury(pipeline, dead(7), partition=0)
    await bury(pipeline, dead(7), dead(8), partition=2)
    assert offsets(pipeline) == [7, 8]
    assert await open_letters(pipeline) == 2
    assert done(pipeline, "retry", "--offset", "7", "--partition", "3", "--topic", "readings").startswith("1 letter ")
    assert len(await sent_to(pipeline)) == 1
    marks = [record for record in await records_of(pipeline.kafka, DLQ) if record.value is None]
    assert [mark.partition for mark in marks] == [0, 2], "behind each copy, so that it outlives it"

    await bury(pipeline, dead(7), partition=1)
    assert offsets(pipeline) == [8]
    assert await open_letters(pipeline) == 1
    (letter_7, _) = listed(pipeline, "--all")
    assert (letter_7["offset"], letter_7["state"]) == (7, "retried")
    assert "retried" in done(pipeline, "list", "--all")


async def test_one_reader_counts_on_as_letters_and_marks_arrive(pipeline: Pipeline) -> None:
    async with TopicReader(pipeline.kafka) as reader:

        async def count() -> int:
            return next(state for state in await reader.read() if state.topic == READINGS_TOPIC).dead_letters

        assert await count() == 0
        await bury(pipeline, dead(1), dead(2), dead(3))
        assert await count() == 3
        await bury(pipeline, dead(3), dead(4))
        assert await count() == 4
        publisher = KafkaPublisher(pipeline.kafka)
        async with publisher:
            marks = [mark_of(Place(READINGS_TOPIC, 3, offset), State.DROPPED) for offset in (1, 99)]
            await publisher.send(marks, partition=0)
        assert await count() == 3, "a mark without a letter counts for nothing"


async def test_what_others_wrote_into_the_topic_hides_no_letter(pipeline: Pipeline) -> None:
    await bury(pipeline, dead(1), partition=0)
    await publish_unreadable(pipeline.kafka, DLQ, partition=0)
    await bury(pipeline, dead(2), partition=0)
    await pipeline.send([OutgoingRecord(DLQ, b"k", b"hello", [])], partition=0)
    await publish_unreadable(pipeline.kafka, DLQ, partition=0)
    assert offsets(pipeline) == [1, 2]
    assert done(pipeline, "drop", "--yes") == "2 letters dropped.\n"
    assert await open_letters(pipeline) == 0


# Finding letters.


async def test_filters_narrow_the_list_and_the_newest_is_last(pipeline: Pipeline) -> None:
    await bury(pipeline, dead(1), partition=2)
    await bury(pipeline, dead(2, partition=4, reason=Reason.TOMBSTONE), partition=1)
    await bury(pipeline, dead(3, topic=EARNINGS_TOPIC), partition=0)
    await bury(pipeline, dead(4, topic=SOURCE_STATUS_TOPIC), partition=0)
    await bury(pipeline, dead(5, reason=Reason.TOMBSTONE), partition=0)
    everything = listed(pipeline)
    assert [each["offset"] for each in everything] == [1, 2, 3, 4, 5]
    third = str(everything[2]["rejected_at"])
    assert offsets(pipeline, "--topic", "readings") == [1, 2, 5]
    assert offsets(pipeline, "--topic", EARNINGS_TOPIC) == [3]
    assert offsets(pipeline, "--topic", "sources") == [4]
    assert offsets(pipeline, "--reason", "tombstone") == [2, 5]
    assert offsets(pipeline, "--topic", "readings", "--partition", "3") == [1, 5]
    assert offsets(pipeline, "--topic", "readings", "--partition", "3", "--offset", "5") == [5]
    assert offsets(pipeline, "--since", third) == [3, 4, 5]
    assert offsets(pipeline, "--until", third) == [1, 2]
    assert offsets(pipeline, "--since", "1h", "--until", "0s") == [1, 2, 3, 4, 5]
    assert offsets(pipeline, "--until", "1h") == []
    assert offsets(pipeline, "--limit", "2") == [4, 5]

    table = done(pipeline, "list", "--limit", "2")
    assert "5 letters open: 3 undecodable, 2 tombstone" in table
    assert "Shown are the 2 newest" in table
    assert table.index("source.status.v1") < table.index("node.readings.v1")
    assert "what is wrong with 5" in table
    assert "what is wrong with 3" not in table


async def test_nothing_found_is_a_sentence_and_no_error(pipeline: Pipeline) -> None:
    assert done(pipeline, "list") == "No dead letter matches.\n"
    assert done(pipeline, "list", "--json") == ""
    assert done(pipeline, "retry", "--reason", "tombstone") == "No open dead letter matches.\n"
    assert done(pipeline, "drop") == "No open dead letter matches.\n"


async def test_a_letter_is_shown_whole(pipeline: Pipeline) -> None:
    text = OutgoingRecord(READINGS_TOPIC, b"gonka1k", b'{"status":"sleepy"}', [("trace", b"\xff"), ("a", b"")])
    binary = OutgoingRecord(READINGS_TOPIC, b"\xfe", b"\xff\x00", [])
    await bury(pipeline, dead(7, original=text), dead(8, original=binary), partition=1)
    shown = done(pipeline, "show", "node.readings.v1", "3", "7").splitlines()
    assert shown[:4] == ["topic      node.readings.v1", "partition  3", "offset     7", "state      open"]
    assert "recorded   2023-11-14T22:13:20.000+00:00" in shown
    assert "reason     undecodable" in shown
    assert "error      what is wrong with 7" in shown
    assert "letter     node.readings.v1.dlq, partition 1, offset 0" in shown
    assert shown[-8:] == [
        "key        gonka1k",
        "headers    2",
        "  trace: \\xff",
        "  a: ",
        "value      19 bytes",
        "{",
        '  "status": "sleepy"',
        "}",
    ]
    assert done(pipeline, "show", "readings", "3", "8").splitlines()[-1].startswith("00000000  ff 00 ")
    (_, as_json) = listed(pipeline)
    assert base64.b64decode(str(as_json["value_base64"])) == b"\xff\x00"


# Dropping letters.


async def test_letters_are_dropped_by_reason_and_nothing_is_returned(pipeline: Pipeline) -> None:
    await bury(pipeline, dead(1), dead(2, reason=Reason.TOMBSTONE), dead(3, reason=Reason.TOMBSTONE))
    assert done(pipeline, "drop", "--reason", "tombstone") == "2 letters dropped.\n"
    assert offsets(pipeline) == [1]
    assert {each["offset"]: each["state"] for each in listed(pipeline, "--all")} == {
        1: "open",
        2: "dropped",
        3: "dropped",
    }
    assert await open_letters(pipeline) == 1
    assert await sent_to(pipeline) == []
    assert done(pipeline, "retry", "--reason", "tombstone").startswith("No open dead letter matches (2 letters done")


@pytest.mark.parametrize("command", ["drop", "retry"])
async def test_without_a_filter_a_person_is_asked(pipeline: Pipeline, command: str) -> None:
    await bury(pipeline, dead(1), dead(2, topic=EARNINGS_TOPIC))
    for answer in ("n\n", ""):
        refused = dlq(pipeline, command, given=answer)
        assert refused.returncode == 1
        assert "all 2 letters" in refused.stderr
    assert await sent_to(pipeline) == []
    assert sorted(map(str, offsets(pipeline))) == ["1", "2"]
    accepted = dlq(pipeline, command, given="y\n")
    assert accepted.returncode == 0
    assert "2 letters " in accepted.stdout
    assert offsets(pipeline) == []
