"""A steady stream of events, and the rows that they must end in."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

from services.kernel.dead_letters import RecordSender
from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC, EarningsReport, NodeReading, Status
from services.kernel.money import gnk
from services.kernel.wire import OutgoingRecord, encode
from tests.integration.pipeline import Pipeline

READINGS, REPORTS, INVALID = "readings", "reports", "invalid"
NODES = 1000

_SOURCE = "hyperfusion"
_STATUSES: tuple[Status, ...] = ("healthy", "healthy", "healthy", "unhealthy", "jailed")
_FIRST_SETTLEMENT = datetime(2020, 1, 1, 12, tzinfo=UTC)  # an epoch a day, as the network settles them
_TICK_SECONDS = 0.1
_MOST_A_TICK = 5000  # to catch up after a pause

NodeStats = tuple[str, datetime, str, int, Decimal]


class Load:
    """Readings of a thousand nodes; every 50th event is a report of what a node earned, every 1000th is invalid."""

    def __init__(self) -> None:
        self.published: Counter[str] = Counter()
        self._numbers = count(1)
        self._newest: dict[str, NodeStats] = {}
        self._earned: Counter[str] = Counter()
        self._last = datetime.min.replace(tzinfo=UTC)

    @property
    def total(self) -> int:
        """How many records there were so far."""
        return self.published.total()

    async def publish(self, publisher: RecordSender, *, rate: int, seconds: float) -> None:
        """Publish `rate` records a second for that long; what a pause held up follows at once."""
        began = time.monotonic()
        due = round(rate * seconds)
        while self.total < due:
            elapsed = min(time.monotonic() - began, seconds)
            records = [self._next() for _ in range(min(round(rate * elapsed) - self.total, _MOST_A_TICK))]
            await publisher.send(records)
            tick = (int((time.monotonic() - began) / _TICK_SECONDS) + 1) * _TICK_SECONDS
            await asyncio.sleep(max(0.0, began + tick - time.monotonic()))

    def _next(self) -> OutgoingRecord:
        number = next(self._numbers)
        if number % 1000 == 0:
            return self._invalid()
        return self._report() if number % 50 == 0 else self._reading()

    def _reading(self) -> OutgoingRecord:
        number = self.published[READINGS]
        self.published[READINGS] += 1
        identifier = _identifier(number)
        # Each a microsecond later at least: two readings of a node at one time would be one.
        self._last = observed_at = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
        status, jobs, weight = _STATUSES[number % 5], number % 100_000, Decimal(number).scaleb(-8)
        self._newest[identifier] = _SOURCE, observed_at, status, jobs, weight
        return encode(
            NodeReading(
                identifier=identifier,
                identifier_type="wallet",
                source=_SOURCE,
                observed_at=observed_at,
                status=status,
                health_probed=True,
                jobs_day=jobs,
                active_model="Qwen/Qwen3-235B-A22B",
                voting_weight=weight,
                tokens_per_sec=Decimal(number % 1000),
                gpu_type="8x NVIDIA H100",
            )
        )

    def _report(self) -> OutgoingRecord:
        number = self.published[REPORTS]
        self.published[REPORTS] += 1
        identifier, epoch = _identifier(number), number // NODES
        amount = 10**9 * (number % 977) + 123_456_789
        self._earned[identifier] += amount
        return encode(
            EarningsReport(
                identifier=identifier,
                identifier_type="wallet",
                source="gonka_api",
                kind="epoch",
                period=epoch,
                amount_ngonka=str(amount),
                observed_at=datetime.now(UTC),
                settled_at=_FIRST_SETTLEMENT + timedelta(days=epoch),
                settled_exact=True,
                final=True,
            )
        )

    def _invalid(self) -> OutgoingRecord:
        number = self.published[INVALID]
        self.published[INVALID] += 1
        topic = EARNINGS_TOPIC if number % 4 == 0 else READINGS_TOPIC
        value = (b'{"identifier": "gonka1', b"[]", None, b'{"identifier": "' + b"x" * 2000 + b'"}')[number // 4 % 4]
        return OutgoingRecord(topic, _identifier(number).encode(), value, [])

    async def wrong_rows(self, pipeline: Pipeline) -> list[str]:
        """The nodes whose row is not the newest reading's, or whose ledger or total is not the sum of their reports."""
        stats = await pipeline.rows(
            "SELECT identifier, source, fetched_at, status, jobs_day, voting_weight FROM node_stats_cache"
            " JOIN nodes ON id = node_id WHERE fetched_at IS NOT NULL"
        )
        ledger = await pipeline.rows(
            "SELECT identifier, sum(amount_ngonka)::bigint FROM earnings_ledger JOIN nodes ON id = node_id"
            " GROUP BY identifier"
        )
        totals = await pipeline.rows(
            "SELECT identifier, earnings_total FROM node_stats_cache JOIN nodes ON id = node_id"
            " WHERE earnings_total IS NOT NULL"
        )
        return [
            *_differences("reading", dict(self._newest), {row[0]: row[1:] for row in stats}),
            *_differences("ledger", dict(self._earned), dict(ledger)),
            *_differences("total", {node: gnk(sum_) for node, sum_ in self._earned.items()}, dict(totals)),
        ]


def _identifier(number: int) -> str:
    return f"gonka1{number % NODES:038}"


def _differences(what: str, expected: dict[str, object], found: dict[str, object]) -> list[str]:
    return [
        f"{what} of {node}: {found.get(node)} instead of {expected.get(node)}"
        for node in sorted(expected.keys() | found.keys())
        if expected.get(node) != found.get(node)
    ]
