"""`minegnk replay` on a real Kafka and PostgreSQL: a range is applied again, whatever happens meanwhile."""

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import RecordMetadata

from services.cli.snapshot import GROUPS
from services.embedded.kafka import KafkaServer
from services.embedded.ports import remembered_ports
from services.kernel.database import connect_arguments
from services.kernel.events import (
    EARNINGS_TOPIC,
    READINGS_TOPIC,
    SOURCE_STATUS_TOPIC,
    NodeReading,
)
from services.kernel.topics import dead_letter_topic, ensure_topics
from services.kernel.wire import OutgoingRecord, encode
from tests.integration.facts import NOW, readings, reports, rows, statuses
from tests.integration.pipeline import (
    REPOSITORY,
    Pipeline,
    Worker,
    free_port,
    publish_unreadable,
    records_of,
    recreate_topics,
    until,
)

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
async def clean(pipeline: Pipeline) -> AsyncIterator[None]:
    await recreate_topics(pipeline.kafka)
    await pipeline.empty_tables()
    yield
    pipeline.stop_all()


Ended = subprocess.CompletedProcess[str]


def replay(pipeline: Pipeline, *arguments: str, **environment: str) -> Ended:
    return subprocess.run(
        [sys.executable, "-m", "services", "replay", *arguments],
        env=pipeline.environment(**environment),
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def replayed(pipeline: Pipeline, *arguments: str, **environment: str) -> str:
    """Replay to the end; the summary, without seconds and rate."""
    ended = replay(pipeline, *arguments, **environment)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return re.sub(r" in [\d.]+ s \([\d,]+/s\)", "", ended.stdout).strip()


async def offsets(pipeline: Pipeline) -> dict[str, Any]:
    """Every group there is, with what it has committed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.kafka.bootstrap_servers)
    await admin.start()
    try:
        groups = {group for group, *_ in await admin.list_consumer_groups()}
        assert groups >= set(GROUPS.values())
        return {group: await admin.list_consumer_group_offsets(group) for group in groups}
    finally:
        await admin.close()


# The same rows.


async def test_emptied_tables_are_filled_again_and_no_groups_offsets_move(pipeline: Pipeline) -> None:
    pipeline.start("cache")
    pipeline.start("earnings")
    await pipeline.publish(statuses())
    await pipeline.drained(SOURCE_STATUS_TOPIC)
    await pipeline.publish([*readings(3000, nodes=100), *reports(nodes=20, epochs=10)])
    await pipeline.drained(READINGS_TOPIC, EARNINGS_TOPIC)
    pipeline.stop_all()
    expected, committed = await rows(pipeline), await offsets(pipeline)
    assert all(expected), "every table has rows"

    await pipeline.empty_tables()
    assert replayed(pipeline, "--topic", "sources") == (
        "2 records read: 2 applied, 0 stale, 0 duplicate, 0 invalid, 0 refused."
    )
    outcome = replayed(pipeline, "--topic", "readings", MINEGNK_CONSUMER_MAX_BATCH="200")
    assert re.fullmatch(
        r"3,000 records read: [\d,]+ applied, [\d,]+ stale, 0 duplicate, 0 invalid, 0 refused\.", outcome
    )
    assert replayed(pipeline, "--topic", "node.earnings.v1", MINEGNK_CONSUMER_MAX_BATCH="97").startswith("800 records")
    assert await rows(pipeline) == expected
    assert await offsets(pipeline) == committed

    again = [replayed(pipeline, "--topic", topic) for topic in ("sources", "readings", "earnings")]
    assert again[0] == "2 records read: 0 applied, 0 stale, 2 duplicate, 0 invalid, 0 refused."
    # Known again are those that stand in a row; the older ones are not kept.
    known = re.fullmatch(
        r"3,000 records read: 0 applied, (\S+) stale, (\S+) duplicate, 0 invalid, 0 refused\.", again[1]
    )
    assert known is not None, again[1]
    stale, duplicate = (int(number.replace(",", "")) for number in known.groups())
    assert stale + duplicate == 3000
    assert duplicate >= 100
    assert again[2] == "800 records read: 0 applied, 400 stale, 400 duplicate, 0 invalid, 0 refused."
    assert await rows(pipeline) == expected


async def test_beside_a_running_worker_the_rows_are_those_of_the_worker_alone(pipeline: Pipeline) -> None:
    published = reports(nodes=40, epochs=20)
    await pipeline.publish(published)
    pipeline.start("earnings", MINEGNK_CONSUMER_MAX_BATCH="50")

    async def some_rows() -> bool:
        return await pipeline.rows("SELECT FROM earnings_ledger LIMIT 1") != []

    await until(some_rows, "the worker's first rows")
    outcome = await asyncio.to_thread(replayed, pipeline, "--topic", "earnings", MINEGNK_CONSUMER_MAX_BATCH="70")
    assert outcome.startswith("3,200 records read: ")
    await pipeline.drained(EARNINGS_TOPIC)
    beside = await rows(pipeline)
    pipeline.stop_all()
    await pipeline.empty_tables()
    replayed(pipeline, "--topic", "earnings")
    assert beside == await rows(pipeline)
    assert len(beside[6]) == len(published) / 2


# Ranges.


async def test_only_the_range_between_two_times_is_applied(pipeline: Pipeline) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=pipeline.kafka.bootstrap_servers)
    await producer.start()
    try:
        early, middle, late = [
            [await publish_node(producer, f"{when}{number}") for number in range(20)]
            for when in ("early", "middle", "late")
        ]
    finally:
        await producer.stop()
    begin, end = (iso(min(record.timestamp for record in of)) for of in (middle, late))
    assert max(record.timestamp for record in early) < min(record.timestamp for record in middle)

    assert "20 records read: 20 applied" in replayed(pipeline, "--topic", "readings", "--from", begin, "--to", end)
    assert await nodes(pipeline) == {f"gonka1middle{number}" for number in range(20)}
    assert "20 records read: 20 applied" in replayed(pipeline, "--topic", "readings", "--from", end)
    assert len(await nodes(pipeline)) == 40
    # The next millisecond leaves out what was appended in this one: --from is inclusive, --to is not.
    first = early[0]
    one = ("--from", iso(first.timestamp), "--to", iso(first.timestamp + 1), "--partition", str(first.partition))
    assert "1 record read: 1 applied" in replayed(pipeline, "--topic", "readings", *one)
    assert "gonka1early0" in await nodes(pipeline)


async def publish_node(producer: AIOKafkaProducer, name: str) -> RecordMetadata:
    """Publish a reading of a node of its own, in a millisecond of its own; where and when Kafka appended it."""
    reading = NodeReading(
        identifier=f"gonka1{name}", identifier_type="wallet", source="tracker", observed_at=NOW, status="healthy"
    )
    record = encode(reading)
    appended = await producer.send_and_wait(record.topic, record.value, key=record.key, headers=record.headers)

    async def later() -> bool:
        return time.time() * 1000 > float(appended.timestamp + 1)

    await until(later, "the next millisecond")
    return appended


async def nodes(pipeline: Pipeline) -> set[str]:
    return {row[0] for row in await pipeline.rows("SELECT identifier FROM nodes")}


def iso(milliseconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)).isoformat()


async def test_one_partition_alone(pipeline: Pipeline) -> None:
    await pipeline.publish(readings(200, nodes=100))
    there = [record for record in await records_of(pipeline.kafka, READINGS_TOPIC) if record.partition == 3]
    outcome = replayed(pipeline, "--topic", "readings", "--partition", "3")
    assert outcome.startswith(f"{len(there)} records read: ")
    assert await nodes(pipeline) == {record.key.decode() for record in there} != set()


async def test_a_range_that_retention_has_shortened_is_told_and_the_rest_applied(pipeline: Pipeline) -> None:
    await pipeline.send(map(encode, readings(10, nodes=10)), partition=0)
    await pipeline.send(map(encode, readings(10, nodes=10)), partition=1)
    await delete_before(pipeline, {0: 6, 1: 10})
    first = next(record for record in await records_of(pipeline.kafka, READINGS_TOPIC))
    assert (first.partition, first.offset) == (0, 6)

    ended = replay(pipeline, "--topic", "readings", "--from", "1d")
    assert ended.stdout.startswith("4 records read")
    begin = iso(first.timestamp)[:23].ljust(23, "0")
    assert ended.stderr == (
        f"1 of 12 partitions begins at {begin}Z because older records were deleted.\n"
        "1 of 12 partitions holds nothing because all its records were deleted.\n"
    )
    # What begins where the range begins is whole.
    assert "begins" not in replay(pipeline, "--topic", "readings", "--from", iso(first.timestamp)).stderr


async def delete_before(pipeline: Pipeline, offset_by_partition: dict[int, int]) -> None:
    """Delete records as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_records(
            {
                TopicPartition(READINGS_TOPIC, partition): RecordsToDelete(before_offset=offset)
                for partition, offset in offset_by_partition.items()
            }
        )
    finally:
        await admin.close()


async def test_a_transactions_marks_in_the_log_are_no_records(pipeline: Pipeline) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=pipeline.kafka.bootstrap_servers, transactional_id="test.replay")
    await producer.start()
    try:
        async with producer.transaction():
            for record in map(encode, readings(5, nodes=5)):
                await producer.send_and_wait(record.topic, record.value, partition=0)
    finally:
        await producer.stop()
    assert replayed(pipeline, "--topic", "readings") == (
        "5 records read: 5 applied, 0 stale, 0 duplicate, 0 invalid, 0 refused."
    )


# Records that cannot be applied.


async def test_invalid_records_are_counted_by_reason_and_leave_no_new_letter(pipeline: Pipeline) -> None:
    good = [encode(reading) for reading in readings(30, nodes=30)]
    bad = [
        OutgoingRecord(READINGS_TOPIC, b"k", None, []),
        OutgoingRecord(READINGS_TOPIC, b"k", b"no JSON", []),
        OutgoingRecord(READINGS_TOPIC, b"k", b"no JSON", []),
        OutgoingRecord(READINGS_TOPIC, b"k", b"{}", [("ce_specversion", b"2.0")]),
    ]
    await pipeline.send(good[:10], partition=0)
    await publish_unreadable(pipeline.kafka, READINGS_TOPIC, partition=0)
    await pipeline.send([*good[10:20], *bad, *good[20:]], partition=0)
    await publish_unreadable(pipeline.kafka, READINGS_TOPIC, partition=0)

    assert replayed(pipeline, "--topic", "readings") == (
        "36 records read: 30 applied, 0 stale, 0 duplicate, "
        "6 invalid (4 undecodable, 1 tombstone, 1 unsupported_version), 0 refused."
    )
    assert len(await nodes(pipeline)) == 30
    assert await records_of(pipeline.kafka, dead_letter_topic(READINGS_TOPIC)) == []


async def test_records_that_the_database_refuses_are_named_and_all_others_applied(pipeline: Pipeline) -> None:
    await pipeline.send([OutgoingRecord(READINGS_TOPIC, b"k", None, [])], partition=2)
    await pipeline.send(map(encode, readings(50, nodes=50)), partition=2)
    refused = [
        record.offset
        for record in await records_of(pipeline.kafka, READINGS_TOPIC)
        if record.key in (b"gonka1node7", b"gonka1node31")
    ]
    await pipeline.execute(
        "ALTER TABLE nodes ADD CONSTRAINT not_these CHECK (identifier NOT IN ('gonka1node7', 'gonka1node31'))"
    )
    try:
        ended = replay(pipeline, "--topic", "readings")
    finally:
        await pipeline.execute("ALTER TABLE nodes DROP CONSTRAINT not_these")
    assert ended.returncode == 1
    assert ", 1 invalid (1 tombstone), 2 refused." in ended.stdout
    lines = ended.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines[:2]] == [f"partition 2, offset {offset}" for offset in refused]
    assert 'violates check constraint "not_these"' in lines[0]
    assert lines[2:] == [
        "minegnk: The database refused 2 records; all others are applied. Mend what it says, then replay again."
    ]
    assert len(await nodes(pipeline)) == 48


async def test_a_dry_run_decodes_and_counts_without_a_database(pipeline: Pipeline) -> None:
    await pipeline.publish(reports(nodes=5, epochs=2))
    await pipeline.send([OutgoingRecord(EARNINGS_TOPIC, b"k", b"no JSON", [])])
    outcome = replayed(pipeline, "--topic", "earnings", "--dry-run", DB_PORT="1")
    assert outcome == "41 records read: 40 valid, 1 invalid (1 undecodable); nothing was applied."
    assert await nodes(pipeline) == set()


# Interruptions and outages.

MANY = 1200


@asynccontextmanager
async def in_the_middle(
    pipeline: Pipeline, published: Sequence[NodeReading], *, batch: int = 20
) -> AsyncIterator[Worker]:
    """A replay of these readings, each of a node of its own, that for the block waits in the middle of its work."""
    connection = await asyncpg.connect(**connect_arguments(pipeline.database))
    try:
        # Whoever meets this node waits until the transaction ends.
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "INSERT INTO nodes (identifier, identifier_type) VALUES ($1, 'wallet')",
            published[len(published) // 3].identifier,
        )
        worker = Worker(
            ["replay", "--topic", "readings"],
            pipeline.environment(MINEGNK_CONSUMER_MAX_BATCH=str(batch)),
            pipeline.logs / f"replay-{free_port()}.log",
        )
        pipeline.workers.append(worker)

        async def waits() -> bool:
            assert worker.process.poll() is None, f"ended by itself: {worker}"
            return await pipeline.rows(WAITING) != []  # a transaction sees the activity of its first look

        await until(waits, "the replay waits")
        yield worker
        await transaction.rollback()
    finally:
        await connection.close()


WAITING = """
SELECT FROM pg_stat_activity
WHERE application_name = 'minegnk replay' AND datname = current_database() AND wait_event_type = 'Lock'
"""


async def ended(worker: Worker) -> int:
    """The exit code of a replay that ends by itself."""
    worker.ended = True
    return await asyncio.to_thread(worker.process.wait, 60)


async def test_a_replay_killed_in_the_middle_is_completed_by_another(pipeline: Pipeline) -> None:
    published = readings(MANY, nodes=MANY)
    await pipeline.publish(published)
    async with in_the_middle(pipeline, published) as worker:
        worker.kill()
    applied = len(await nodes(pipeline))
    assert 0 < applied < MANY
    assert replayed(pipeline, "--topic", "readings").startswith(
        f"1,200 records read: {MANY - applied:,} applied, 0 stale, {applied} duplicate, "
    )
    cached = await pipeline.rows("SELECT identifier, fetched_at FROM node_stats_cache JOIN nodes ON id = node_id")
    assert set(cached) == {(reading.identifier, reading.observed_at) for reading in published}


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_stopped_replay_says_how_far_it_got_and_can_go_on_from_there(
    pipeline: Pipeline, number: signal.Signals, exit_code: int
) -> None:
    published = readings(MANY, nodes=MANY)
    for begin in range(0, MANY, 300):  # one after the other, so that a partition's records differ in time
        await pipeline.publish(published[begin : begin + 300])
    async with in_the_middle(pipeline, published) as worker:
        worker.process.send_signal(number)
        assert await ended(worker) == exit_code
    applied = len(await nodes(pipeline))
    said = worker.log.read_text().strip()
    found = re.fullmatch(
        r"Stopped after (\d+) of 1,200 records \(partitions: (.+)\)\. What was done stays; "
        r"running it again, whole or from there on \(--from (\S+)\), is safe\.",
        said,
    )
    assert found, said
    assert 0 < int(found[1]) == applied < MANY
    places = re.findall(r"(\d+) at offset (\d+) of (\d+)", found[2])
    assert [int(partition) for partition, _, _ in places] == list(range(12))
    assert sum(int(offset) for _, offset, _ in places) == applied
    replayed(pipeline, "--topic", "readings", "--from", found[3])
    assert len(await nodes(pipeline)) == MANY


async def test_an_outage_of_postgresql_is_waited_out_and_told(pipeline: Pipeline) -> None:
    published = readings(MANY, nodes=MANY)
    await pipeline.publish(published)
    elsewhere = await asyncpg.connect(
        **connect_arguments(pipeline.database.model_copy(update={"database": "postgres"}))
    )
    name = pipeline.database.database
    try:
        async with in_the_middle(pipeline, published) as worker:
            await elsewhere.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
            await elsewhere.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = $1 AND application_name = 'minegnk replay'",
                name,
            )

            async def told() -> bool:
                return "is not currently accepting connections" in worker.log.read_text()

            await until(told, "the outage is told")
            assert re.search(r" of 1,200 records .*; PostgreSQL: .*, trying again$", worker.log.read_text(), re.M)
            await elsewhere.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
    finally:
        await elsewhere.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
        await elsewhere.close()
    assert await ended(worker) == 0
    assert "1,200 records read in " in worker.log.read_text()
    assert len(await nodes(pipeline)) == MANY


async def test_an_outage_of_kafka_is_waited_out_and_told(pipeline: Pipeline, tmp_path: Path) -> None:
    ports = remembered_ports(tmp_path / "ports", ["kafka", "controller"])
    server = KafkaServer(tmp_path, ports["kafka"], ports["controller"])
    server.prepare()
    server.start()
    try:
        await asyncio.to_thread(server.wait_ready)
        kafka = pipeline.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{server.port}"})
        other = Pipeline(pipeline.database, kafka, tmp_path, pipeline.workers)
        await ensure_topics(kafka)
        # More than a client fetches ahead.
        published = readings(2500, nodes=2500)
        await other.send(large(published), partition=0)
        async with in_the_middle(other, published, batch=500) as worker:
            server.kill()

        async def told() -> bool:
            return "; Kafka sends nothing, for " in worker.log.read_text()

        await until(told, "the outage is told")
        server.start()
        await asyncio.to_thread(server.wait_ready)
        assert await ended(worker) == 0
    finally:
        server.kill()
    assert "2,500 records read in " in worker.log.read_text()
    assert len(await nodes(pipeline)) == 2500


def large(events: Sequence[NodeReading]) -> list[OutgoingRecord]:
    """Records of 4 kB: spaces around a JSON object mean nothing."""
    return [record._replace(value=(record.value or b"").ljust(4000)) for record in map(encode, events)]


async def test_records_that_expire_while_they_are_replayed_are_counted(pipeline: Pipeline) -> None:
    published = readings(2500, nodes=2500)
    await pipeline.send(large(published), partition=0)
    async with in_the_middle(pipeline, published, batch=500) as worker:
        await delete_before(pipeline, {0: 2490})
    assert await ended(worker) == 0
    said = worker.log.read_text()
    found = re.match(r"([\d,]+) records read .* ([\d,]+) records expired before they were read\.$", said)
    assert found, said
    read, expired = (int(number.replace(",", "")) for number in found.groups())
    assert read + expired == 2500
    assert expired > 0
    assert len(await nodes(pipeline)) == read


async def test_a_topic_that_is_made_anew_ends_the_replay(pipeline: Pipeline) -> None:
    published = readings(2500, nodes=2500)
    await pipeline.send(large(published), partition=0)
    async with in_the_middle(pipeline, published, batch=500) as worker:
        await recreate_topics(pipeline.kafka)
    assert await ended(worker) == 3
    stopped, sentence = worker.log.read_text().splitlines()[-2:]
    assert stopped.startswith("Stopped after ")
    assert sentence == ("minegnk: node.readings.v1 was made anew, or lost its end, while it was read: replay again.")


# Mistakes.


def mistaken(pipeline: Pipeline, *arguments: str, **environment: str) -> tuple[int, str]:
    """Replay what cannot be; the exit code and the one sentence."""
    process = replay(pipeline, *arguments, **environment)
    assert process.stdout == ""
    assert process.stderr.count("\n") == 1, process.stderr
    assert process.stderr.startswith("minegnk: ")
    return process.returncode, process.stderr.removeprefix("minegnk: ").strip()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--topic", "horoscopes"],
            "No topic 'horoscopes' can be replayed: use readings, earnings, sources or "
            "node.readings.v1, node.earnings.v1, source.status.v1.",
        ),
        (
            ["--topic", "readings", "--from", "2026-03-01T12:00Z", "--to", "2026-03-01"],
            "--from (2026-03-01T12:00:00.000Z) must be before --to (2026-03-01T00:00:00.000Z).",
        ),
        (
            ["--topic", "readings", "--from", "yesterday"],
            "'yesterday' is no time: write it like 2026-03-01T12:00:00Z or 2026-03-01 (UTC), "
            "or how long ago it was, like 90s, 2h or 3d.",
        ),
        (["--topic", "readings", "--partition", "12"], "node.readings.v1 has the partitions 0 to 11, and no 12."),
    ],
)
def test_what_cannot_be_replayed(pipeline: Pipeline, arguments: list[str], said: str) -> None:
    assert mistaken(pipeline, *arguments) == (2, said)


async def test_a_range_without_records_is_no_fault(pipeline: Pipeline) -> None:
    await pipeline.publish(readings(10, nodes=10))
    for arguments, said in {
        ("--from", "2026-03-01", "--to", "2026-03-02"): "from 2026-03-01T00:00:00.000Z to 2026-03-02T00:00:00.000Z",
        ("--from", "9999-01-01", "--partition", "3"): "from 9999-01-01T00:00:00.000Z on in partition 3",
    }.items():
        process = replay(pipeline, "--topic", "readings", *arguments)
        assert process.stdout == f"Nothing to replay: there is no record of node.readings.v1 {said}.\n"
        assert (process.returncode, process.stderr) == (0, "")


def test_without_kafka(pipeline: Pipeline) -> None:
    for server in (f"127.0.0.1:{free_port()}", "no-such-host.invalid:9092"):
        code, said = mistaken(pipeline, "--topic", "readings", MINEGNK_KAFKA_BOOTSTRAP_SERVERS=server)
        assert code == 3
        assert said.startswith(f"Kafka at {server} cannot be reached (")


async def test_without_the_database(pipeline: Pipeline) -> None:
    await pipeline.publish(readings(10, nodes=10))
    port = free_port()
    assert mistaken(pipeline, "--topic", "readings", DB_PORT=str(port)) == (
        3,
        f"PostgreSQL at 127.0.0.1:{port} cannot be reached: start it, or set DB_HOST and DB_PORT.",
    )


@pytest.mark.parametrize("topic", ["readings", "earnings", "sources"])
async def test_without_tables(pipeline: Pipeline, topic: str) -> None:
    await pipeline.publish([*statuses(), *readings(10, nodes=10), *reports(nodes=1, epochs=1)])
    assert mistaken(pipeline, "--topic", topic, DB_DATABASE="postgres") == (
        2,
        "The database has no tables yet: run `minegnk migrate`.",
    )


async def test_without_topics(pipeline: Pipeline) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_topics([READINGS_TOPIC])
    finally:
        await admin.close()
    assert mistaken(pipeline, "--topic", "readings") == (
        2,
        "Kafka has no topic node.readings.v1: run `minegnk topics`.",
    )


async def test_a_user_without_the_services_rights(pipeline: Pipeline) -> None:
    await pipeline.publish(readings(10, nodes=10))
    await pipeline.execute("CREATE ROLE replaying LOGIN PASSWORD 'replaying'")
    try:
        assert mistaken(pipeline, "--topic", "readings", DB_USERNAME="replaying", DB_PASSWORD="replaying") == (
            2,
            "PostgreSQL's user 'replaying' may not write what node.readings.v1 is applied to: "
            "grant it the role minegnk_cache, or set DB_USERNAME.",
        )
    finally:
        await pipeline.execute("DROP ROLE replaying")
