"""Mutated records through Kafka, the cache and the earnings service, and PostgreSQL.

Afterwards each record is accounted for: the dead letters are exactly the records that the decoder refuses (so none that
the database refused), and the rows are exactly what the accepted ones make.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

import msgspec

from services.kernel.errors import Reason
from services.kernel.events import EarningsReport, Event, NodeReading, SourceStatus
from services.kernel.topics import dead_letter_topic
from services.kernel.wire import EVENT_TYPES, OutgoingRecord
from tests.fuzz.mutations import Mutant
from tests.fuzz.verdicts import Verdicts
from tests.integration.pipeline import Pipeline, records_of

CONSUMED: tuple[type[Event], ...] = (NodeReading, EarningsReport, SourceStatus)
"""The events that end in rows; requests for a refresh go to ingest, which has no dead letters."""

_CHUNK = 5000
_RECORDS_PER_SECOND = 300  # a slow machine's, with time for the workers to start

Identity = tuple[str, int, int]
LedgerRow = tuple[bool, datetime, int]


async def judge_through_workers(pipeline: Pipeline, mutants: Iterable[Mutant]) -> Verdicts:
    """Publish the records, let a cache and an earnings worker handle them all, and account for each.

    Raises AssertionError, with the worker's log, when a worker ends or does not get to the end.
    """
    for service in ("cache", "earnings"):
        pipeline.start(service, MINEGNK_CONSUMER_INVALID_LIMIT="0")
    published = 0
    for chunk in _chunks(mutants):
        await pipeline.send([_record(mutant) for mutant in chunk])
        published += len(chunk)
    topics = [EVENT_TYPES[event_class].topic for event_class in CONSUMED]
    await pipeline.drained(*topics, seconds=30 + published / _RECORDS_PER_SECOND)
    verdicts = Verdicts()
    accepted: list[Event] = []
    for event_class in CONSUMED:
        accepted += await _compare_letters(pipeline, event_class, verdicts)
    if verdicts.records != published:
        verdicts.fail(f"{published} records were published, {verdicts.records} have a verdict")
    await _compare_rows(pipeline, accepted, verdicts)
    return verdicts


def _chunks(mutants: Iterable[Mutant]) -> Iterator[list[Mutant]]:
    remaining = iter(mutants)
    while chunk := list(islice(remaining, _CHUNK)):
        yield chunk


def _record(mutant: Mutant) -> OutgoingRecord:
    return OutgoingRecord(EVENT_TYPES[mutant.event_class].topic, mutant.key, mutant.value, mutant.headers)


async def _compare_letters(pipeline: Pipeline, event_class: type[Event], verdicts: Verdicts) -> list[Event]:
    """Compare the dead letters of a topic with the decoder's verdicts; returns the events that were accepted."""
    topic = EVENT_TYPES[event_class].topic
    letters = await _letters(pipeline, topic)
    accepted: list[Event] = []
    for record in await records_of(pipeline.kafka, topic):
        mutant = Mutant(event_class, record.value, record.headers, record.key, record.timestamp)
        outcome = verdicts.add(mutant)
        letter = letters.pop((topic, record.partition, record.offset), None)
        if letter != (outcome.value if isinstance(outcome, Reason) else None):
            verdicts.fail(f"the decoder gives {outcome}, the dead letter says {letter}", mutant)
        if isinstance(outcome, msgspec.Struct):
            accepted.append(outcome)
    for identity, reason in letters.items():
        verdicts.fail(f"a dead letter ({reason}) of no record: {identity}")
    return accepted


async def _letters(pipeline: Pipeline, topic: str) -> dict[Identity, str]:
    """The dead letters' reasons by the identity of their record."""
    letters: dict[Identity, str] = {}
    for letter in await records_of(pipeline.kafka, dead_letter_topic(topic)):
        added = {name.removeprefix("minegnk_dlq_"): value for name, value in letter.headers}
        identity = added["topic"].decode(), int(added["partition"]), int(added["offset"])
        letters[identity] = added["reason"].decode()
    return letters


async def _compare_rows(pipeline: Pipeline, events: list[Event], verdicts: Verdicts) -> None:
    """Compare what is in the tables with what the accepted events leave there."""
    identifiers: set[str] = set()
    cached: set[str] = set()
    ledger: dict[tuple[str, str, str, int], LedgerRow] = {}
    sources: dict[str, datetime] = {}
    for event in events:
        match event:
            case NodeReading():
                identifiers.add(event.identifier)
                if event.status is not None:
                    cached.add(event.identifier)
            case EarningsReport():
                identifiers.add(event.identifier)
                key = event.identifier, event.source, event.kind, event.period_number
                row = event.final, event.observed_at, event.amount
                ledger[key] = max(row, ledger.get(key, row))
            case SourceStatus():
                sources[event.source] = max(event.reported_at, sources.get(event.source, event.reported_at))
    for what, expected, query in (
        ("nodes", {(identifier,) for identifier in identifiers}, "SELECT identifier FROM nodes"),
        (
            "cached rows",
            {(identifier,) for identifier in cached},
            "SELECT identifier FROM node_stats_cache JOIN nodes ON id = node_id WHERE fetched_at IS NOT NULL",
        ),
        (
            "ledger rows",
            {(*key, *row) for key, row in ledger.items()},
            "SELECT identifier, source, kind, period, final, observed_at, amount_ngonka::bigint"
            " FROM earnings_ledger JOIN nodes ON id = node_id",
        ),
        ("sources", set(sources.items()), "SELECT name, reported_at FROM tracker_sources"),
    ):
        found = set(await pipeline.rows(query))
        if found != expected:
            verdicts.fail(
                f"{what}: {len(expected - found)} missing {sorted(expected - found)[:3]}, "
                f"{len(found - expected)} unexpected {sorted(found - expected)[:3]}"
            )
