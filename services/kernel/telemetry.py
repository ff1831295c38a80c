"""Logs (structlog, one event name a thing) and metrics (Prometheus; no node labels)."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.kernel.settings import ServiceSettings

LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
BATCH_BUCKETS = (1, 10, 50, 100, 500, 1000, 2000, 5000, 10000, 50000)


def configure_logging(settings: ServiceSettings) -> None:
    """Send structlog's and the standard library's logs to standard error, as JSON lines or as text."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for chatty in ("aiokafka", "faust", "mode", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))


class ConsumerMetrics:
    """Where a batch consumer's time goes and what became of its records. Labels: topic, and partition for lag."""

    def __init__(self, registry: CollectorRegistry, topic: str) -> None:
        def child(metric: type[Counter], name: str, text: str, *labels: str) -> Counter:
            return metric(name, text, ["topic", *labels], registry=registry)

        self._topic = topic
        self._records = child(
            Counter,
            "minegnk_consumer_records",
            "Records by what became of them: applied, superseded, dead_lettered.",
            "outcome",
        )
        self._dead_letters = child(Counter, "minegnk_consumer_dead_letters", "Dead letters by reason.", "reason")
        self._seconds = child(
            Counter,
            "minegnk_consumer_seconds",
            "Time budget of the loop by what it did: poll, decode, handle, dead_letters, commit.",
            "stage",
        )
        self._retries = child(Counter, "minegnk_consumer_retries", "Repeated attempts by what was repeated.", "stage")
        self._lag = Gauge(
            "minegnk_consumer_lag_records",
            "Records of a partition not yet handled.",
            ["topic", "partition"],
            registry=registry,
        )
        self._batch = Histogram(
            "minegnk_consumer_batch_records",
            "Records in a batch.",
            ["topic"],
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self._latency = Histogram(
            "minegnk_consumer_latency_seconds",
            "From the broker's append to the committed transaction, of a batch's oldest record.",
            ["topic"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block's time to a stage of the time budget."""
        start = perf_counter()
        try:
            yield
        finally:
            self._seconds.labels(self._topic, name).inc(perf_counter() - start)

    def batch(self, records: int, latency_seconds: float) -> None:
        """Count a committed batch."""
        self._batch.labels(self._topic).observe(records)
        self._latency.labels(self._topic).observe(latency_seconds)

    def outcome(self, name: str, records: int) -> None:
        """Count records by what became of them."""
        self._records.labels(self._topic, name).inc(records)

    def dead_letter(self, reason: str) -> None:
        """Count a dead letter."""
        self._dead_letters.labels(self._topic, reason).inc()

    def retry(self, stage: str) -> None:
        """Count a repeated attempt."""
        self._retries.labels(self._topic, stage).inc()

    def lag(self, partition: int, records: int) -> None:
        """Set a partition's lag."""
        self._lag.labels(self._topic, str(partition)).set(records)

    def forget_lag(self) -> None:
        """Drop the lag of partitions that went to another worker."""
        self._lag.clear()
