"""Applying the records of a range again, through the handlers of the service that consumes their topic."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer

from services.cache.store import apply_readings, apply_source_status
from services.cli.letter_views import readable
from services.cli.topic_range import Portion, TimeRange, appended_at, portions
from services.earnings.store import apply_reports
from services.kernel.backoff import pauses
from services.kernel.database import Database
from services.kernel.errors import InvalidRecordError, Reason
from services.kernel.events import (
    EARNINGS_TOPIC,
    READINGS_TOPIC,
    SOURCE_STATUS_TOPIC,
    EarningsReport,
    Event,
    NodeReading,
    SourceStatus,
)
from services.kernel.halving import Applied, apply_by_halves
from services.kernel.settings import ConsumerSettings
from services.kernel.transient import Fault, classify
from services.kernel.wire import decoder_for

_APPLY_SECONDS = 90.0  # of one attempt, as in the services
_SILENCE_SECONDS = 3.0
_NOTE_WIDTH = 100

Show = Callable[[int, str], None]
"""Takes how many records are done, and what holds up the others."""


class Kind(NamedTuple):
    """What the records of a topic are, and what applies them: the handler and the database role of their service."""

    topic: str
    event_class: type[Event]
    apply: Callable[[Database, Sequence[Any]], Awaitable[Applied]]
    role: str


KINDS: Final = {
    kind.topic: kind
    for kind in (
        Kind(READINGS_TOPIC, NodeReading, apply_readings, "minegnk_cache"),
        Kind(EARNINGS_TOPIC, EarningsReport, apply_reports, "minegnk_earnings"),
        Kind(SOURCE_STATUS_TOPIC, SourceStatus, apply_source_status, "minegnk_cache"),
    )
}
"""By their topics."""


class Place(NamedTuple):
    """How far a partition is: the next offset, and a time that no record from there on was appended before."""

    offset: int
    time: datetime


@dataclass
class Tally:
    """What became of the records that were read. Each is applied, stale, a duplicate, invalid or refused."""

    read: int = 0
    applied: int = 0
    stale: int = 0
    duplicates: int = 0
    invalid: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    deleted: int = 0  # not read: the topic deleted them before


class Replay:
    """One replay of a range. `tally` and `places` tell of what is done, at every moment, also after an exception."""

    def __init__(self, kind: Kind, found: TimeRange, settings: ConsumerSettings, database: Database | None) -> None:
        """Without a database the records are only decoded and counted."""
        self._kind = kind
        self._settings = settings
        self._database = database
        self._decode = decoder_for(kind.event_class)
        self.spans = found.spans
        self.total = sum(end - start for start, end in found.spans.values())
        self.places = {at: Place(start, found.first[at]) for at, (start, _) in found.spans.items()}
        self.tally = Tally()

    @property
    def done(self) -> int:
        """Records of the range that need nothing more, by their offsets."""
        return sum(self.places[partition].offset - start for partition, (start, _) in self.spans.items())

    def goes_on_at(self) -> datetime | None:
        """The time from which on all that is not done was appended; None at the end."""
        return min(
            (self.places[at].time for at, (_, end) in self.spans.items() if self.places[at].offset < end), default=None
        )

    async def run(self, consumer: AIOKafkaConsumer, show: Show) -> None:
        """Read and apply every record. What passes by itself, of Kafka or PostgreSQL, is waited out.

        Raises UnavailableError where Kafka's records cannot be read, and what the handler raises that is neither a
        record's fault nor passes.
        """
        heard = time.monotonic()
        async with aclosing(portions(consumer, self.spans, self._settings.max_batch)) as found:
            async for portion in found:
                if portion.trouble:
                    silent = time.monotonic() - heard
                    show(
                        self.done, f"{_note(portion.trouble)}, for {silent:.0f} s" if silent > _SILENCE_SECONDS else ""
                    )
                    continue
                await self._take(portion, show)
                heard = time.monotonic()
                show(self.done, "")

    async def _take(self, portion: Portion, show: Show) -> None:
        """Apply a portion, then count it: what is interrupted counts as not done."""
        events: list[Event] = []
        offsets: list[int] = []
        invalid: Counter[str] = Counter({Reason.UNDECODABLE: portion.unreadable} if portion.unreadable else {})
        for record in portion.records:
            try:
                events.append(self._decode(record))
                offsets.append(record.offset)
            except InvalidRecordError as error:
                invalid[error.reason] += 1
        if (database := self._database) is not None:
            applied, refused = await apply_by_halves(events, lambda some: self._apply(database, some, show))
            self.tally.applied += applied.changed
            self.tally.stale += applied.stale
            self.tally.duplicates += applied.duplicate
            self.tally.refused += [
                f"partition {portion.partition.partition}, offset {offsets[place]}: {readable(error)}"
                for place, error in refused
            ]
        self.tally.read += len(portion.records) + portion.unreadable
        self.tally.invalid += invalid
        self.tally.deleted += portion.deleted
        last = self.places[portion.partition].time
        if portion.records:
            last = appended_at(portion.records[-1].timestamp)
        self.places[portion.partition] = Place(portion.next_offset, last)

    async def _apply(self, database: Database, events: Sequence[Event], show: Show) -> Applied:
        """Apply in one transaction, trying again for as long as it takes.

        Several events that hit a time limit are not tried again: fewer at once may do.
        """
        waits = pauses(self._settings)
        while True:
            try:
                async with asyncio.timeout(_APPLY_SECONDS):
                    return await self._kind.apply(database, events)
            except Exception as error:
                fault = classify(error)
                if not fault.passes or (fault is Fault.SLOW and len(events) > 1):
                    raise
                show(self.done, f"PostgreSQL: {_note(repr(error))}, trying again")
            await asyncio.sleep(next(waits))


def _note(text: str) -> str:
    """An error on a line that has more to say."""
    line = readable(text)
    return line if len(line) <= _NOTE_WIDTH else f"{line[: _NOTE_WIDTH - 1]}…"
