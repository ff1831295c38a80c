"""Logs (structlog, one event name a thing) and metrics (Prometheus; no node labels)."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import perf_counter

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.kernel.halving import Applied
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
    """The metrics of a process's batch consumers. Labels: topic, and partition for lag."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = Counter(
            "minegnk_consumer_records",
            "Records of committed batches by what became of them: applied (a row changed), stale (older or outranked), "
            "duplicate (the same event again), dead_lettered.",
            ["topic", "outcome"],
            registry=registry,
        )
        self.polled = Counter(
            "minegnk_consumer_polled_records",
            "Records read from Kafka. Those of a batch that is left uncommitted are read, and counted, again.",
            ["topic"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "minegnk_consumer_dead_letters", "Dead letters by reason.", ["topic", "reason"], registry=registry
        )
        self.seconds = Counter(
            "minegnk_consumer_seconds",
            "Time budget of the loops by what they did: poll, decode, handle, dead_letters, commit.",
            ["topic", "stage"],
            registry=registry,
        )
        self.retries = Counter(
            "minegnk_consumer_retries", "Repeated attempts by what was repeated.", ["topic", "stage"], registry=registry
        )
        self.lag = Gauge(
            "minegnk_consumer_lag_records",
            "Records of a partition that are not yet handled.",
            ["topic", "partition"],
            registry=registry,
        )
        self.held = Gauge(
            "minegnk_consumer_held",
            "1 for a partition that is held for too many invalid records, until an operator lets it go on.",
            ["topic", "partition"],
            registry=registry,
        )
        self.batch = Histogram(
            "minegnk_consumer_batch_records",
            "Records of a committed batch: all outcomes together.",
            ["topic"],
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self.latency = Histogram(
            "minegnk_consumer_latency_seconds",
            "From the broker's append to the committed transaction, of a batch's oldest record.",
            ["topic"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )

    def of(self, topic: str) -> "TopicMetrics":
        """The metrics of one topic's consumer."""
        return TopicMetrics(self, topic)


class TopicMetrics:
    """Where a batch consumer's time goes and what became of its records."""

    def __init__(self, metrics: ConsumerMetrics, topic: str) -> None:
        self._metrics = metrics
        self._topic = topic
        self._partitions: set[str] = set()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block's time to a stage of the time budget."""
        start = perf_counter()
        try:
            yield
        finally:
            self._metrics.seconds.labels(self._topic, name).inc(perf_counter() - start)

    def polled(self, records: int) -> None:
        """Count records that were read, perhaps not for the first time."""
        self._metrics.polled.labels(self._topic).inc(records)

    def handled(self, applied: Applied, dead_letters: int, latency_seconds: float) -> None:
        """Count a committed batch, and each of its records once by what became of it."""
        outcomes = {
            "applied": applied.changed,
            "stale": applied.stale,
            "duplicate": applied.duplicate,
            "dead_lettered": dead_letters,
        }
        for name, records in outcomes.items():
            self._metrics.records.labels(self._topic, name).inc(records)
        self._metrics.batch.labels(self._topic).observe(sum(outcomes.values()))
        self._metrics.latency.labels(self._topic).observe(latency_seconds)

    def dead_letter(self, reason: str) -> None:
        """Count a dead letter."""
        self._metrics.dead_letters.labels(self._topic, reason).inc()

    def retry(self, stage: str) -> None:
        """Count a repeated attempt."""
        self._metrics.retries.labels(self._topic, stage).inc()

    def lag(self, partition: int, records: int) -> None:
        """Set a partition's lag."""
        self._partitions.add(str(partition))
        self._metrics.lag.labels(self._topic, str(partition)).set(records)

    def held(self, partition: int, *, held: bool) -> None:
        """Set whether a partition is held."""
        self._partitions.add(str(partition))
        self._metrics.held.labels(self._topic, str(partition)).set(int(held))

    def forget_partitions(self) -> None:
        """Drop what was said of partitions that may go to another worker."""
        for partition in self._partitions:
            for gauge in (self._metrics.lag, self._metrics.held):
                with suppress(KeyError):  # not every partition has been held
                    gauge.remove(self._topic, partition)
        self._partitions.clear()
