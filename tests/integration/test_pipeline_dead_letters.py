"""Records that can never be applied go to the dead letters, whole and with the reason; the good ones are applied."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from aiokafka import ConsumerRecord

from services.kernel.events import READINGS_TOPIC, NodeReading
from services.kernel.topics import dead_letter_topic
from services.kernel.wire import OutgoingRecord, encode
from tests.integration.pipeline import Pipeline, records_of, recreate_topics

pytestmark = pytest.mark.integration

PARTITION = 5
GOOD = 40


@pytest.fixture
async def clean(pipeline: Pipeline) -> None:
    await recreate_topics(pipeline.kafka)
    await pipeline.empty_tables()


@pytest.fixture(autouse=True)
def stopped_at_the_end(pipeline: Pipeline) -> Iterator[None]:
    yield
    pipeline.stop_all()


def reading(identifier: str) -> NodeReading:
    return NodeReading(
        identifier=identifier,
        identifier_type="wallet",
        source="hyperfusion",
        observed_at=datetime.now(UTC) - timedelta(minutes=1),
        status="healthy",
    )


def with_fields(**fields: object) -> OutgoingRecord:
    """A reading's record with some fields replaced."""
    record = encode(reading("gonka1bad"))
    assert record.value is not None
    value = {**msgspec.json.decode(record.value), **fields}
    return record._replace(value=msgspec.json.encode(value))


def bad_records() -> dict[str, OutgoingRecord]:
    """One record for each reason."""
    good = encode(reading("gonka1bad"))
    of_version_2 = [(name, b"minegnk.node.reading.v2" if name == "ce_type" else value) for name, value in good.headers]
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    return {
        "tombstone": OutgoingRecord(READINGS_TOPIC, b"gonka1bad", None, []),
        "undecodable": OutgoingRecord(
            READINGS_TOPIC, b"\xff\x00", b'{"identifier": "gonka1bad', [("mine", b"\x00\xff")]
        ),
        "unsupported_version": good._replace(headers=of_version_2),
        "invalid_field": with_fields(status="sleepy"),
        "out_of_range": with_fields(jobs_day=2**31),
        "in_the_future": with_fields(observed_at=ahead),
        "identifier_type_mismatch": with_fields(identifier="gonkavaloper1bad"),
    }


def identity(record: ConsumerRecord) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


async def dead_letters(pipeline: Pipeline) -> list[ConsumerRecord]:
    return await records_of(pipeline.kafka, dead_letter_topic(READINGS_TOPIC))


@pytest.mark.usefixtures("clean")
async def test_bad_records_among_good_ones_become_dead_letters_once_and_the_good_ones_are_applied(
    pipeline: Pipeline,
) -> None:
    bad = bad_records()
    good = [encode(reading(f"gonka1good{number}")) for number in range(GOOD)]
    mixed = good[:10]
    for number, record in enumerate(bad.values()):
        mixed += [record, *good[10 + 4 * number : 14 + 4 * number]]
    mixed += good[10 + 4 * len(bad) :]
    await pipeline.send(mixed, partition=PARTITION)
    originals = {
        identity(record): (reason, record)
        for record in await records_of(pipeline.kafka, READINGS_TOPIC)
        for reason, sent in bad.items()
        if (record.key, record.value, list(record.headers)) == (sent.key, sent.value, sent.headers)
    }
    assert len(originals) == len(bad)

    worker = pipeline.start("cache")
    await pipeline.drained(READINGS_TOPIC)
    letters = await dead_letters(pipeline)
    assert len(letters) == len(bad)
    for letter in letters:
        own, added = split(letter)
        reason, original = originals[added["topic"].decode(), int(added["partition"]), int(added["offset"])]
        assert added["reason"].decode() == reason
        assert int(added["timestamp"]) == original.timestamp
        assert (letter.key, letter.value, own) == (original.key, original.value, list(original.headers))
    assert await pipeline.rows("SELECT count(*), count(DISTINCT node_id) FROM node_stats_cache") == [(GOOD, GOOD)]
    assert await pipeline.rows("SELECT identifier FROM nodes WHERE identifier LIKE '%bad%'") == []

    assert worker.stop() == 0
    pipeline.start("cache")
    await pipeline.send([encode(reading("gonka1later"))], partition=PARTITION)
    await pipeline.drained(READINGS_TOPIC)
    assert len(await dead_letters(pipeline)) == len(bad), "a restarted worker does not send them again"


def split(letter: ConsumerRecord) -> tuple[list[tuple[str, bytes]], dict[str, bytes]]:
    """The record's own headers, and those that were added, without their prefix."""
    prefix = "minegnk_dlq_"
    own = [header for header in letter.headers if not header[0].startswith(prefix)]
    return own, {name.removeprefix(prefix): value for name, value in letter.headers if name.startswith(prefix)}


@pytest.mark.usefixtures("clean")
async def test_a_record_that_the_database_refuses_is_found_and_dead_lettered_alone(pipeline: Pipeline) -> None:
    # Whatever passes decoding fits its column, so the database is given a rule that decoding does not know.
    await pipeline.execute("ALTER TABLE nodes ADD CONSTRAINT refused CHECK (identifier <> 'gonka1refused')")
    refused = encode(reading("gonka1refused"))
    records = [encode(reading(f"gonka1good{number}")) for number in range(GOOD)]
    records.insert(23, refused)
    await pipeline.send(records, partition=PARTITION)
    pipeline.start("cache")
    await pipeline.drained(READINGS_TOPIC)
    await pipeline.execute("ALTER TABLE nodes DROP CONSTRAINT refused")
    (letter,) = await dead_letters(pipeline)
    own, added = split(letter)
    assert (letter.key, letter.value, own) == (refused.key, refused.value, refused.headers)
    assert (added["reason"], added["offset"]) == (b"refused_by_database", b"23")
    assert b"refused" in added["error"]
    assert await pipeline.rows("SELECT count(*) FROM node_stats_cache") == [(GOOD,)]
