"""What the workers are given: events as ingest publishes them, of networks of several sizes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC, EarningsReport, NodeReading
from services.kernel.wire import OutgoingRecord, encode

EPOCH_HOURS = 24.2
_FACTS_EVERY = 15  # readings: a source that is polled each minute tells facts again after a quarter of an hour
_INVALID_EVERY = 100
_BROKEN = b'{"identifier": "gonka1broken", "observed_at": "yesterday"}'


@dataclass(frozen=True)
class Load:
    """Records for one topic, in the order in which they are published; `nodes` different ones are told of."""

    name: str
    title: str
    service: str
    topic: str
    nodes: int
    records: int
    make: Callable[[int, int], Iterator[OutgoingRecord]]

    def scaled(self, divisor: int) -> "Load":
        """The same with so many times fewer records, and nodes where these are many."""
        nodes = max(self.nodes // divisor, min(self.nodes, 100))
        return Load(self.name, self.title, self.service, self.topic, nodes, self.records // divisor, self.make)

    def __iter__(self) -> Iterator[OutgoingRecord]:
        return self.make(self.nodes, self.records)


def identifier(node: int) -> str:
    """The wallet of a node that does not exist."""
    return f"gonka1{node:038}"


IDENTIFIER_SQL: Final = "'gonka1' || lpad(node::text, 38, '0')"
"""The same in SQL, of a number called node."""


def reading(node: int, moment: datetime, round_number: int) -> NodeReading:
    """What a tracker says of a node; each round is another poll, and says something new."""
    return NodeReading(
        identifier=identifier(node),
        identifier_type="wallet",
        source="hyperfusion",
        observed_at=moment,
        status="healthy",
        health_probed=True,
        jobs_day=round_number,
        active_model="Qwen/Qwen3-235B-A22B-Instruct-2507-FP8",
        voting_weight=Decimal(15_000 + node % 977),
        epoch=187,
        height=2_871_045 + round_number,
        display_name=f"host {node}" if round_number % _FACTS_EVERY == node % _FACTS_EVERY else None,
    )


def _readings(nodes: int, records: int) -> Iterator[OutgoingRecord]:
    """Round after round, every node once a round; every reading is newer than the one before."""
    start = datetime.now(UTC) - timedelta(hours=1)
    step = min(timedelta(milliseconds=50), timedelta(minutes=50) * nodes / records)  # none is in the future
    for number in range(records):
        round_number, node = divmod(number, nodes)
        yield encode(reading(node, start + step * round_number, round_number))


def _readings_and_others(nodes: int, records: int) -> Iterator[OutgoingRecord]:
    for number, record in enumerate(_readings(nodes, records)):
        yield record if number % _INVALID_EVERY else record._replace(value=_BROKEN)


def report(node: int, epoch: int, settled_at: datetime) -> EarningsReport:
    """What the chain says a host earned in an epoch; with a ninth digit."""
    work, reward = 1_001 + node, 100_000_000_000 + (node * 7_919 * (epoch + 1)) % 900_000_000_001
    return EarningsReport(
        identifier=identifier(node),
        identifier_type="wallet",
        source="gonka_api",
        kind="epoch",
        period=epoch,
        amount_ngonka=work + reward,
        work_ngonka=work,
        reward_ngonka=reward,
        settled_at=settled_at,
        settled_exact=True,
        final=True,
        claimed=True,
        observed_at=settled_at + timedelta(minutes=5),
    )


def reports(hosts: int, records: int) -> Iterator[EarningsReport]:
    """Epoch after epoch, ending yesterday."""
    epochs = records // hosts
    end = datetime.now(UTC) - timedelta(days=1)
    for epoch in range(epochs):
        settled_at = end - timedelta(hours=EPOCH_HOURS * (epochs - epoch))
        for host in range(hosts):
            yield report(host, epoch, settled_at)


def _reports(hosts: int, records: int) -> Iterator[OutgoingRecord]:
    return map(encode, reports(hosts, records))


THOUSAND = Load("nodes-1k", "1,000 nodes, every reading newer", "cache", READINGS_TOPIC, 1_000, 600_000, _readings)
MANY = Load(
    "nodes-100k", "100,000 nodes, every reading a row update", "cache", READINGS_TOPIC, 100_000, 400_000, _readings
)
HOT = Load("hot-key", "one node sends everything", "cache", READINGS_TOPIC, 1, 200_000, _readings)
INVALID = Load(
    "invalid-1pct", "1,000 nodes, 1 % invalid", "cache", READINGS_TOPIC, 1_000, 200_000, _readings_and_others
)
YEAR = Load(
    "earnings-year", "365 epochs of 1,000 hosts to history", "earnings", EARNINGS_TOPIC, 1_000, 365_000, _reports
)
