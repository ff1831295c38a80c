"""Workers under a steady load: what they use meanwhile, and whether everything arrived."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from services.cli.snapshot import TopicReader
from services.embedded.ports import remembered_ports
from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC
from services.kernel.publisher import KafkaPublisher
from tests.integration.pipeline import Pipeline, until
from tests.soak.load import INVALID, Load
from tests.soak.verdict import MIB, Check, Course, course, growth
from tests.soak.watch import Buckets, Sample, Watch, quantile

TOPICS = {"cache": READINGS_TOPIC, "earnings": EARNINGS_TOPIC}
"""What each worker consumes."""


@dataclass(frozen=True)
class Plan:
    """How long and how much: `seconds` of load, `rate` records a second, the first `warm_up` seconds not judged."""

    seconds: float
    rate: int
    warm_up: float
    interval: float = 5.0


@dataclass
class WorkerReport:
    """How one worker did: the judged samples, and the latency of its batches' oldest records in seconds."""

    samples: list[Sample]
    memory: Course
    descriptors: Course
    threads: Course
    cores: float
    max_lag: int
    latency_p50: float | None
    latency_p99: float | None


@dataclass
class Report:
    """The outcome of a soak."""

    plan: Plan
    published: Mapping[str, int]
    seconds: float
    workers: dict[str, WorkerReport] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> str:
        """All of it, every sample included."""
        return json.dumps({"passed": self.passed, **asdict(self)}, indent=2)

    def __str__(self) -> str:
        published = ", ".join(f"{number:,} {what}" for what, number in self.published.items())
        rate = sum(self.published.values()) / self.seconds
        lines = [
            f"{published} in {self.seconds:.0f} s ({rate:,.0f}/s); figures after {self.plan.warm_up:g} s of warm-up",
            f"{'':9} {'RSS MiB':^24} {'descriptors':^20} {'threads':^20} {'cores':>5} {'max lag':>8} {'latency s':>11}",
            f"{'worker':9} {'start':>7} {'end':>7} {'per hour':>8} "
            + f"{'start':>6} {'end':>5} {'per hour':>8} " * 2
            + f"{'':5} {'':8} {'p50':>5} {'p99':>5}",
        ]
        lines += [_row(name, worker) for name, worker in self.workers.items()]
        lines += [f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.detail}" for check in self.checks]
        return "\n".join([*lines, "passed" if self.passed else "FAILED"])


def _row(name: str, worker: WorkerReport) -> str:
    memory = worker.memory
    cells = f"{name:9} {memory.start / MIB:7.1f} {memory.end / MIB:7.1f} {memory.slope_per_hour / MIB:+8.1f} "
    for handles in (worker.descriptors, worker.threads):
        cells += f"{handles.start:6.0f} {handles.end:5.0f} {handles.slope_per_hour:+8.1f} "
    latencies = (f"{'-' if value is None else f'{value:g}':>5}" for value in (worker.latency_p50, worker.latency_p99))
    return cells + f"{worker.cores:5.2f} {worker.max_lag:8,} " + " ".join(latencies)


async def soak(pipeline: Pipeline, plan: Plan) -> Report:
    """Run one cache and one earnings worker under the load. Raises AssertionError, with its log, when one ends."""
    ports = remembered_ports(pipeline.logs / "metrics.json", list(TOPICS))
    # The load's invalid records are few, but go on for as long as anybody likes: there is no operator to let them pass.
    watches = {
        name: Watch(pipeline.start(name, MINEGNK_METRICS_PORT=str(port), MINEGNK_CONSUMER_INVALID_LIMIT="0"), port)
        for name, port in ports.items()
    }
    for watch in watches.values():
        await until(watch.ready, "a worker is ready")
    load = Load()
    warm: dict[str, Buckets] = {}
    publisher = KafkaPublisher(pipeline.kafka)
    began = time.monotonic()
    async with publisher, TopicReader(pipeline.kafka) as reader:
        publishing = asyncio.create_task(load.publish(publisher, rate=plan.rate, seconds=plan.seconds))
        try:
            while not publishing.done():
                lags = {state.topic: state.lag for state in await reader.read()}
                at = time.monotonic() - began
                for name, watch in watches.items():
                    watch.sample(at, lags[TOPICS[name]])
                if at >= plan.warm_up and not warm:
                    warm = {name: await watch.latency(TOPICS[name]) for name, watch in watches.items()}
                await asyncio.wait({publishing}, timeout=plan.interval)
            await publishing
        finally:
            publishing.cancel()
    report = Report(plan, dict(load.published), time.monotonic() - began)
    report.checks.append(await _drained(pipeline))
    for name, watch in watches.items():
        judged = [sample for sample in watch.samples if sample.at >= plan.warm_up]
        report.workers[name] = _worker_report(judged, warm[name], await watch.latency(TOPICS[name]))
        report.checks += growth(name, judged)
    report.checks += await _arrived(pipeline, load)
    return report


def _worker_report(samples: list[Sample], before: Buckets, after: Buckets) -> WorkerReport:
    first, last = samples[0], samples[-1]
    return WorkerReport(
        samples,
        memory=course(samples, lambda sample: sample.rss),
        descriptors=course(samples, lambda sample: sample.descriptors),
        threads=course(samples, lambda sample: sample.threads),
        cores=(last.cpu - first.cpu) / (last.at - first.at),
        max_lag=max(sample.lag for sample in samples),
        latency_p50=quantile(before, after, 0.5),
        latency_p99=quantile(before, after, 0.99),
    )


async def _drained(pipeline: Pipeline) -> Check:
    began = time.monotonic()
    name = "no lag is left"
    try:
        await pipeline.drained(*TOPICS.values(), seconds=60)
    except AssertionError as failure:
        return Check(name, False, str(failure))
    return Check(name, True, f"{time.monotonic() - began:.1f} s after the last record")


async def _arrived(pipeline: Pipeline, load: Load) -> list[Check]:
    letters = sum([(await pipeline.state(topic)).dead_letters for topic in TOPICS.values()])
    wrong = await load.wrong_rows(pipeline)
    invalid = load.published[INVALID]
    return [
        Check("every invalid record is a dead letter", letters == invalid, f"{letters} letters of {invalid} records"),
        Check("rows, ledger and totals are exact", not wrong, "; ".join(wrong[:3]) or "compared for every node"),
    ]
