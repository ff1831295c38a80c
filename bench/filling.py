"""Filling a topic, and tables with a network that is already known."""

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from bench.loads import IDENTIFIER_SQL
from services.kernel.publisher import partition_of
from services.kernel.settings import KafkaSettings
from services.kernel.topics import TOPICS
from services.kernel.wire import OutgoingRecord
from tests.integration.pipeline import Pipeline

_BATCH_BYTES = 262_144  # as the services' own publisher sends them under load

# The network has been followed for some time: each node has a row that everything is newer than, a name that was told
# before, and its uptime of these days. What is measured are updates.
_KNOWN_NETWORK = """
TRUNCATE nodes, epoch_settlement, tracker_sources, source_uptime, source_epoch_total, earnings_source_order CASCADE;
INSERT INTO tracker_sources (name, kind, preference_seconds, earnings_order, probes_health, poll_interval_seconds,
    reported_at)
VALUES ('hyperfusion', 'hyperfusion', 600, 20, true, 60, now()), ('gonka_api', 'gonka_api', 0, 0, false, 60, now());
INSERT INTO nodes (identifier, identifier_type, display_name)
SELECT {identifier}, 'wallet', 'host ' || node FROM generate_series(0, {nodes} - 1) AS node;
INSERT INTO node_facts (node_id, field, value, source, observed_at)
SELECT id, 'display_name', display_name, 'hyperfusion', '2020-01-01' FROM nodes;
INSERT INTO node_uptime (node_id, date)
SELECT id, day FROM nodes, (
    SELECT DISTINCT (moment AT TIME ZONE 'UTC')::date
    FROM (VALUES (now()), (now() - interval '2 hours')) AS span (moment)
) AS days (day);
INSERT INTO node_stats_cache (node_id, source, fetched_at, status, jobs_day, active_model, voting_weight)
SELECT id, 'hyperfusion', '2020-01-01', 'healthy', 0, 'none', 1 FROM nodes;
"""


async def fill(kafka: KafkaSettings, records: Iterable[OutgoingRecord]) -> int:
    """Publish the records, each to its key's partition; returns how many. Faster than a service would: in batches."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers, acks="all", max_batch_size=_BATCH_BYTES, linger_ms=5
    )
    await producer.start()
    partitions = {topic.name: list(range(topic.partitions)) for topic in TOPICS}
    batches: dict[tuple[str, int], BatchBuilder] = {}
    deliveries: list[asyncio.Future[object]] = []
    published = 0
    try:
        for record in records:
            every = partitions[record.topic]
            place = (record.topic, partition_of(record.key, every, every))
            while True:
                batch = batches.get(place)
                if batch is None:
                    batch = batches[place] = producer.create_batch()
                if batch.append(key=record.key, value=record.value, timestamp=None, headers=record.headers):
                    break
                deliveries.append(await producer.send_batch(batch, place[0], partition=place[1]))
                del batches[place]
            published += 1
        for (topic, partition), batch in batches.items():
            deliveries.append(await producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*deliveries)
    finally:
        await producer.stop()
    return published


async def know_network(pipeline: Pipeline, nodes: int) -> None:
    """Empty the tables, and have so many nodes, followed for some time."""
    await pipeline.execute(_KNOWN_NETWORK.format(identifier=IDENTIFIER_SQL, nodes=nodes))
    for statement in ("VACUUM (ANALYZE)", "CHECKPOINT"):
        await pipeline.execute(statement)
