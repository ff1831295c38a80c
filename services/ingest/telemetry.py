"""The metrics of polling. Sources are those of the file, so as a label they are few."""

from contextlib import suppress
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)


class PollMetrics:
    """What the polls of this process's sources came to."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._polls = Counter(
            "minegnk_source_polls", "Polls by outcome: succeeded, failed.", ["source", "outcome"], registry=registry
        )
        self._seconds = Histogram(
            "minegnk_source_poll_seconds",
            "How long the source took to answer a poll that succeeded.",
            ["source"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._interval = Gauge(
            "minegnk_source_poll_interval_seconds", "How often the source is polled.", ["source"], registry=registry
        )
        self._last_success = Gauge(
            "minegnk_source_last_success_timestamp_seconds",
            "When the source last answered; 0: not since this process polls it.",
            ["source"],
            registry=registry,
        )
        self._data = Gauge(
            "minegnk_source_data_timestamp_seconds",
            "As of when the source's last answer was, by its own account.",
            ["source"],
            registry=registry,
        )

    def begin(self, source: str, interval_seconds: float) -> None:
        """The source is polled by this process now."""
        self._interval.labels(source).set(interval_seconds)
        self._last_success.labels(source).set(0)
        for outcome in ("succeeded", "failed"):
            self._polls.labels(source, outcome)

    def succeeded(self, source: str, seconds: float, at: datetime, data_at: datetime) -> None:
        """The source answered."""
        self._polls.labels(source, "succeeded").inc()
        self._seconds.labels(source).observe(seconds)
        self._last_success.labels(source).set(at.timestamp())
        self._data.labels(source).set(data_at.timestamp())

    def failed(self, source: str) -> None:
        """The source did not answer, or not well."""
        self._polls.labels(source, "failed").inc()

    def end(self, source: str) -> None:
        """Another process polls the source: say no more how it does."""
        for gauge in (self._interval, self._last_success, self._data):
            with suppress(KeyError):  # it may never have answered
                gauge.remove(source)
