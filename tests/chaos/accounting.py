"""After a run: is every record that was published applied, superseded, or a dead letter with the right reason?"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRecord

from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC, SOURCE_STATUS_TOPIC
from services.kernel.topics import dead_letter_topic
from tests.chaos import reference
from tests.chaos.load import NUMBER_HEADER, Sent
from tests.chaos.reference import Rows
from tests.integration.pipeline import Pipeline, records_of

TOPICS = (READINGS_TOPIC, EARNINGS_TOPIC, SOURCE_STATUS_TOPIC)
_SHOWN = 10

NODES = "SELECT identifier, identifier_type, display_name, gpu_type, region FROM nodes"
FACTS = """
SELECT identifier, field, value, source, observed_at FROM node_facts JOIN nodes ON id = node_id
"""
CACHE = """
SELECT identifier, source, fetched_at, status, jobs_day, voting_weight, tokens_per_sec, earnings_day, earnings_total
FROM node_stats_cache JOIN nodes ON id = node_id
"""
UPTIME = """
SELECT identifier, date, healthy::text, seen::text FROM node_uptime JOIN nodes ON id = node_id
"""
SOURCE_UPTIME = "SELECT source, date, reachable::text FROM source_uptime"
LEDGER = """
SELECT identifier, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, claimed, observed_at
FROM earnings_ledger JOIN nodes ON id = node_id
"""
VERSIONS = """
SELECT identifier, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed, observed_at
FROM earnings_version JOIN nodes ON id = node_id
"""
SETTLEMENTS = "SELECT epoch, exact, observed_at, settled_at, source FROM epoch_settlement"
HISTORY = """
SELECT identifier, date, earnings_gnk, earnings_history.source FROM earnings_history JOIN nodes ON nodes.id = node_id
"""


@dataclass
class Accounts:
    """What was found wrong, a sentence each, and what was counted."""

    records: int = 0
    published_again: int = 0
    letters: int = 0
    letters_again: int = 0
    lost: list[str] = field(default_factory=list)
    counted_twice: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        """Whether nothing is lost, counted twice or wrong."""
        return not (self.lost or self.counted_twice or self.wrong)

    def __str__(self) -> str:
        lines = [
            f"{self.records} records ({self.published_again} published again), {self.letters} dead letters "
            f"({self.letters_again} sent again); lost {len(self.lost)}, counted twice {len(self.counted_twice)}, "
            f"wrong {len(self.wrong)}"
        ]
        for name, found in (("lost", self.lost), ("counted twice", self.counted_twice), ("wrong", self.wrong)):
            lines += [f"  {name}: {sentence}" for sentence in found[:_SHOWN]]
        return "\n".join(lines)

    def judge_rows(self, table: str, expected: Rows, found: Rows, *, amount: int | None = None) -> None:
        """Compare a table with what it must hold; `amount` is the column that adds up."""
        for key in expected.keys() | found.keys():
            right, row = expected.get(key), found.get(key)
            if row == right:
                continue
            sentence = f"{table} {key}: {row}, not {right}"
            if right is None:
                self.wrong.append(sentence)
            elif row is not None and amount is not None and (row[amount] or 0) > (right[amount] or 0):
                self.counted_twice.append(sentence)
            else:  # what should have won, or been added, does not show
                self.lost.append(sentence)

    def judge_letters(
        self, sent: Mapping[int, Sent], records: Iterable[ConsumerRecord], letters: Iterable[ConsumerRecord]
    ) -> None:
        """Every published record that cannot be applied has its letter, whole and with the reason; no other has one."""
        published = {(record.topic, record.partition, record.offset): record for record in records}
        numbers = {place: number_of(record) for place, record in published.items()}
        times = Counter(numbers.values())
        self.records += len(published)
        self.published_again += len(published) - len(times)
        self.lost += [f"record {number} was never published" for number in sent.keys() - times.keys()]
        found: Counter[tuple[str, int, int]] = Counter()
        for letter in letters:
            added = {
                name.removeprefix("minegnk_dlq_"): value.decode(errors="replace") for name, value in letter.headers
            }
            place = added["topic"], int(added["partition"]), int(added["offset"])
            found[place] += 1
            record = published.get(place)
            reason = record and sent[numbers[place]].reason
            if record is None or reason is None or added["reason"] != reason:
                self.wrong.append(f"letter of {place} for {added['reason']}, not {reason}: {added['error']}")
            elif (letter.key, letter.value) != (record.key, record.value):
                self.wrong.append(f"letter of {place} has another key or value than its record")
        self.letters += len(found)
        self.letters_again += found.total() - len(found)
        self.lost += [
            f"no letter of {place}, which is {sent[number].reason}"
            for place, number in numbers.items()
            if sent[number].reason is not None and place not in found
        ]


def number_of(record: ConsumerRecord) -> int:
    """Which of the load's records it is."""
    return int(dict(record.headers)[NUMBER_HEADER])


async def account(pipeline: Pipeline, load: Sequence[Sent]) -> Accounts:
    """Read every topic and table, and settle the accounts of this load."""
    accounts = Accounts()
    for topic in TOPICS:
        letters = await records_of(pipeline.kafka, dead_letter_topic(topic))
        records = [r for r in await records_of(pipeline.kafka, topic) if NUMBER_HEADER in dict(r.headers)]
        accounts.judge_letters({each.number: each for each in load if each.record.topic == topic}, records, letters)
    good = {
        topic: [each.fields for each in load if each.fields is not None and each.record.topic == topic]
        for topic in TOPICS
    }
    readings, reports, statuses = good[READINGS_TOPIC], good[EARNINGS_TOPIC], good[SOURCE_STATUS_TOPIC]
    facts = reference.facts(readings)
    history, totals = reference.earnings(reports)
    accounts.judge_rows("nodes", reference.nodes(readings, reports), await _rows(pipeline, NODES, 1))
    accounts.judge_rows("node_facts", facts, await _rows(pipeline, FACTS, 2))
    accounts.judge_rows("node_uptime", reference.uptime(readings), _bits(await _rows(pipeline, UPTIME, 2)))
    sources = _bits(await _rows(pipeline, SOURCE_UPTIME, 2))
    accounts.judge_rows("source_uptime", reference.source_uptime(statuses), sources)
    accounts.judge_rows("earnings_ledger", reference.ledger(reports), await _rows(pipeline, LEDGER, 4), amount=0)
    accounts.judge_rows("earnings_ledger_version", reference.versions(reports), await _rows(pipeline, VERSIONS, 9))
    accounts.judge_rows("epoch_settlement", reference.settlements(reports), await _rows(pipeline, SETTLEMENTS, 1))
    accounts.judge_rows("earnings_history", history, await _rows(pipeline, HISTORY, 2), amount=0)
    cached = await _rows(pipeline, CACHE, 1)
    accounts.judge_rows("node_stats_cache", reference.stats(readings), _part(cached, 0, 5))
    tokens = {
        node: (value,) for (node, name), (value, *_) in reference.facts(readings).items() if name == "tokens_per_sec"
    }
    found = {node: (str(row[0]),) for node, row in _part(cached, 5, 6).items()}
    accounts.judge_rows("node_stats_cache.tokens_per_sec", tokens, found)
    earned = {node: row for node, row in totals.items() if row != (None, None)}
    accounts.judge_rows("node_stats_cache.earnings", earned, _part(cached, 6, 8), amount=1)
    return accounts


async def _rows(pipeline: Pipeline, query: str, keys: int) -> Rows:
    """The rows of a query by their first columns."""
    return {row[0] if keys == 1 else row[:keys]: row[keys:] for row in await pipeline.rows(query)}


def _part(rows: Rows, begin: int, end: int) -> Rows:
    """Some columns, of the rows that have any of them."""
    parts = {key: row[begin:end] for key, row in rows.items()}
    return {key: part for key, part in parts.items() if any(value is not None for value in part)}


def _bits(rows: Rows) -> Rows:
    def number(text: Any) -> int:
        return int(text, 2)

    return {key: tuple(map(number, row)) for key, row in rows.items()}
