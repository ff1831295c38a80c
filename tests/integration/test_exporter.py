"""`minegnk exporter`: metrics of the whole, from a real PostgreSQL and Kafka."""

import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.cache.store import apply_readings
from services.earnings.store import apply_reports
from services.kernel.database import Database
from services.kernel.events import READINGS_TOPIC, EarningsReport, NodeReading
from services.kernel.wire import OutgoingRecord, encode
from tests.integration.pipeline import Pipeline, free_port, until

pytestmark = pytest.mark.integration

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def port(pipeline: Pipeline) -> Iterator[int]:
    """Where an exporter listens."""
    port = free_port()
    yield port
    pipeline.stop_all()


def reading(number: int, age: timedelta) -> NodeReading:
    return NodeReading(
        identifier=f"gonka1{number}",
        identifier_type="wallet",
        source="s",
        observed_at=datetime.now(UTC) - age,
        status="healthy",
    )


def samples(port: int) -> Samples:
    """What it says, by name and labels; nothing while it does not listen."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((f"minegnk_{name}", frozenset(labels.items())))


async def test_it_tells_of_lag_letters_ages_settlements_and_disks_while_no_worker_runs(
    pipeline: Pipeline, cache: Database, earnings: Database, port: int
) -> None:
    ages = (timedelta(), timedelta(minutes=1), timedelta(minutes=6), timedelta(days=2))
    await apply_readings(cache, [reading(number, age) for number, age in enumerate(ages)])
    settled_at = datetime.now(UTC) - timedelta(hours=3)
    report = EarningsReport(
        identifier="gonka10",
        identifier_type="wallet",
        source="s",
        kind="epoch",
        period=240,
        amount_ngonka=1,
        settled_at=settled_at,
        final=True,
        observed_at=settled_at,
    )
    await apply_reports(earnings, [report])
    good = encode(reading(9, timedelta()))
    await pipeline.send([good, good, OutgoingRecord(READINGS_TOPIC, b"k", b"not JSON", [])], partition=3)

    worker = pipeline.start("exporter", MINEGNK_METRICS_PORT=str(port))

    async def complete() -> bool:
        found = samples(port)
        times = [value(found, "exporter_last_success_timestamp_seconds", server=each) for each in ("postgres", "kafka")]
        return all(times)

    await until(complete, "both servers are read")
    found = samples(port)
    assert value(found, "group_lag_records", topic=READINGS_TOPIC, partition="3") == 3
    assert value(found, "group_lag_records", topic=READINGS_TOPIC, partition="4") == 0
    assert value(found, "group_offset", topic=READINGS_TOPIC, partition="3") == 0
    assert value(found, "open_dead_letters", topic=READINGS_TOPIC) == 0
    assert [value(found, "cache_nodes", age=age) for age in ("fresh", "stale", "gone")] == [2, 1, 1]
    assert value(found, "cache_ttl_seconds") == 300
    newest = value(found, "cache_newest_timestamp_seconds")
    assert newest is not None
    assert time.time() - newest < 60
    assert value(found, "settlement_newest_epoch") == 240
    assert value(found, "settlement_newest_timestamp_seconds") == pytest.approx(settled_at.timestamp())
    assert (value(found, "database_size_bytes") or 0) > 1_000_000
    assert (value(found, "kafka_topic_size_bytes", topic=READINGS_TOPIC) or 0) > 100
    disks = {name: value for (name, _), value in found.items() if name.startswith("minegnk_kafka_disk")}
    assert 0 < disks["minegnk_kafka_disk_free_bytes"] < disks["minegnk_kafka_disk_size_bytes"]

    pipeline.start("cache")
    await pipeline.drained(READINGS_TOPIC)
    assert worker.stop() == 0
    pipeline.start("exporter", MINEGNK_METRICS_PORT=str(port))
    await until(complete, "both servers are read again")
    found = samples(port)
    assert value(found, "open_dead_letters", topic=READINGS_TOPIC) == 1
    assert value(found, "group_lag_records", topic=READINGS_TOPIC, partition="3") == 0
    assert value(found, "group_offset", topic=READINGS_TOPIC, partition="3") == 3


async def test_a_server_that_is_away_is_waited_for_while_the_other_is_read(pipeline: Pipeline, port: int) -> None:
    pipeline.start("exporter", MINEGNK_METRICS_PORT=str(port), DB_PORT=str(free_port()))

    async def kafka_read() -> object:
        return value(samples(port), "exporter_last_success_timestamp_seconds", server="kafka")

    await until(kafka_read, "Kafka is read")
    assert value(samples(port), "exporter_last_success_timestamp_seconds", server="postgres") == 0
