"""The earnings service: reports of what nodes earned become an exact ledger and daily history."""

from functools import partial

import faust
from prometheus_client import CollectorRegistry

from services.earnings.nightly import schedule
from services.earnings.retention import prune_versions
from services.earnings.store import apply_reports
from services.kernel.app import faust_app, mount, mount_consumers
from services.kernel.consumer import BatchConsumer
from services.kernel.database import Database
from services.kernel.events import EARNINGS_TOPIC, EarningsReport
from services.kernel.pruning import schedule_pruning
from services.kernel.publisher import KafkaPublisher
from services.kernel.settings import ConsumerSettings, DatabaseSettings, KafkaSettings, ServiceSettings
from services.kernel.telemetry import ConsumerMetrics
from services.kernel.tracing import followed, tracing_for
from services.kernel.wire import decoding_of


def create_app(
    kafka: KafkaSettings,
    database_settings: DatabaseSettings,
    consumer: ConsumerSettings,
    service: ServiceSettings,
    registry: CollectorRegistry,
) -> faust.App:
    """Wire the service: one batch consumer, a timer for the sources' order, a nightly reconciliation and pruning."""
    app = faust_app("earnings", kafka, service)
    app.producer_only = True  # no Faust agents: the batch consumer reads Kafka
    metrics = ConsumerMetrics(registry)
    tracing = tracing_for("earnings")
    database = Database(database_settings, application="minegnk.earnings", role="minegnk_earnings")
    publisher = KafkaPublisher(kafka, compression="gzip")  # of dead letters: what was small compressed stays so
    decoding, handle = followed(
        tracing, EARNINGS_TOPIC, (decoding_of(EarningsReport), partial(apply_reports, database))
    )
    reports: BatchConsumer[EarningsReport] = BatchConsumer(
        topic=EARNINGS_TOPIC,
        group="minegnk.earnings",
        decoding=decoding,
        handle=handle,
        dead_letters=publisher,
        kafka=kafka,
        settings=consumer,
        metrics=metrics.of(EARNINGS_TOPIC),
    )
    mount(app, *filter(None, [tracing]), database, publisher)
    mount_consumers(app, registry, consumer, reports)
    schedule(app, registry, database, publisher)
    schedule_pruning(app, registry, partial(prune_versions, database))
    return app
