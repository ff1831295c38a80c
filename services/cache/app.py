"""The cache service: the newest reading of each node wins its row in node_stats_cache."""

from functools import partial

import faust
import structlog
from prometheus_client import CollectorRegistry

from services.cache.retention import prune_uptime
from services.cache.store import apply_readings, apply_source_status, refresh_uptime
from services.kernel.app import faust_app, mount, mount_consumers
from services.kernel.consumer import BatchConsumer
from services.kernel.database import Database
from services.kernel.events import READINGS_TOPIC, SOURCE_STATUS_TOPIC, NodeReading, SourceStatus
from services.kernel.pruning import schedule_pruning
from services.kernel.publisher import KafkaPublisher
from services.kernel.settings import ConsumerSettings, DatabaseSettings, KafkaSettings, ServiceSettings
from services.kernel.telemetry import ConsumerMetrics
from services.kernel.tracing import followed, tracing_for
from services.kernel.transient import classify
from services.kernel.wire import decoding_of

UPTIME_REFRESH_SECONDS = 60


def create_app(
    kafka: KafkaSettings,
    database_settings: DatabaseSettings,
    consumer: ConsumerSettings,
    service: ServiceSettings,
    registry: CollectorRegistry,
) -> faust.App:
    """Wire the service: two batch consumers, a timer for uptime, a nightly pruning, metrics and health."""
    app = faust_app("cache", kafka, service)
    app.producer_only = True  # no Faust agents: the batch consumers read Kafka
    metrics = ConsumerMetrics(registry)
    tracing = tracing_for("cache")
    database = Database(database_settings, application="minegnk.cache", role="minegnk_cache")
    publisher = KafkaPublisher(kafka, compression="gzip")  # of dead letters: what was small compressed stays so
    consume = partial(BatchConsumer, dead_letters=publisher, kafka=kafka, settings=consumer)
    decoding, handle = followed(tracing, READINGS_TOPIC, (decoding_of(NodeReading), partial(apply_readings, database)))
    readings: BatchConsumer[NodeReading] = consume(
        topic=READINGS_TOPIC,
        group="minegnk.cache",
        decoding=decoding,
        handle=handle,
        metrics=metrics.of(READINGS_TOPIC),
    )
    statuses: BatchConsumer[SourceStatus] = consume(
        topic=SOURCE_STATUS_TOPIC,
        group="minegnk.cache.sources",  # its own: members of a group should subscribe to the same topics
        decoding=decoding_of(SourceStatus),
        handle=partial(apply_source_status, database),
        metrics=metrics.of(SOURCE_STATUS_TOPIC),
    )
    mount(app, *filter(None, [tracing]), database, publisher)
    mount_consumers(app, registry, consumer, statuses, readings)
    schedule_pruning(app, registry, partial(prune_uptime, database))

    @app.timer(UPTIME_REFRESH_SECONDS)  # type: ignore[untyped-decorator]
    async def uptime() -> None:
        try:
            await refresh_uptime(database)
        except Exception as error:
            if not classify(error).passes:
                raise
            structlog.get_logger(__name__).warning("uptime_refresh_postponed", error=repr(error))

    return app
