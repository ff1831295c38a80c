"""What a worker uses, sampled from outside, and the latency that it reports itself."""

from collections import Counter
from dataclasses import dataclass
from math import inf

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.pipeline import Worker

Buckets = dict[float, float]
"""A histogram: upper bound in seconds → observations up to it."""


@dataclass(frozen=True)
class Sample:
    """What a worker used at one moment. `at` and `cpu` are seconds, since the start of the soak and of the process."""

    at: float
    rss: int
    descriptors: int
    threads: int
    cpu: float
    lag: int


class Watch:
    """Looks at one worker's process and at its pages on `port`."""

    def __init__(self, worker: Worker, port: int) -> None:
        self._worker = worker
        self._pages = f"http://127.0.0.1:{port}"
        self._process = psutil.Process(worker.process.pid)
        self.samples: list[Sample] = []

    async def ready(self) -> bool:
        """Whether it has its partitions. Raises AssertionError, with its log, when it has ended."""
        self._check_running()
        try:
            return (await self._get("/readyz")).is_success
        except httpx.TransportError:
            return False

    def sample(self, at: float, lag: int) -> None:
        """Take a sample. Raises AssertionError, with its log, when the worker has ended."""
        self._check_running()
        with self._process.oneshot():
            cpu = self._process.cpu_times()
            self.samples.append(
                Sample(
                    at,
                    self._process.memory_info().rss,
                    self._process.num_fds(),
                    self._process.num_threads(),
                    cpu.user + cpu.system,
                    lag,
                )
            )

    async def latency(self, topic: str) -> Buckets:
        """The latency of each batch's oldest record so far, as it says itself."""
        reply = (await self._get("/metrics")).raise_for_status()
        return {
            float(sample.labels["le"]): sample.value
            for family in text_string_to_metric_families(reply.text)
            for sample in family.samples
            if sample.name == "minegnk_consumer_latency_seconds_bucket" and sample.labels["topic"] == topic
        }

    async def _get(self, page: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.get(self._pages + page)

    def _check_running(self) -> None:
        assert self._worker.process.poll() is None, f"ended by itself: {self._worker}"


def quantile(before: Buckets, after: Buckets, share: float) -> float | None:
    """The bucket's bound that this share of the batches between the two stayed within; None without any batch."""
    counts = Counter(after)
    counts.subtract(before)
    total = counts[inf]
    return min((bound for bound, n in counts.items() if n >= share * total), default=None) if total else None
