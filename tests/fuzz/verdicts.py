"""What became of mutated records: counted by mutation, and whatever must not happen, whole."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from services.kernel.errors import InvalidRecordError, Reason
from services.kernel.events import Event
from services.kernel.wire import Decoding, Headers, OutgoingRecord, decoding_of, encode
from tests.fuzz.bounds import violations
from tests.fuzz.mutations import Mutant
from tests.fuzz.samples import EVENT_CLASSES

ACCEPTED = "accepted"
_DECODINGS: dict[type[Event], Decoding[Any]] = {event_class: decoding_of(event_class) for event_class in EVENT_CLASSES}
_KEPT = 20
_RECORDS = 61  # where they begin in a batch
_LONG = 7_500  # records of more than 8 KB are not plain


@dataclass
class Verdicts:
    """The tally of a run."""

    of_mutations: Counter[tuple[str, str]] = field(default_factory=Counter)  # (mutation, verdict) → records
    of_classes: Counter[tuple[str, str]] = field(default_factory=Counter)  # (event class, verdict) → records
    records: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)  # the first of them

    def add(self, mutant: Mutant) -> Event | Reason | None:
        """Decode a record and count what became of it, for each of its mutations; None where the decoder failed."""
        try:
            outcome = decoded(mutant)
        except AssertionError as failure:
            self.fail(str(failure), mutant)
            return None
        verdict = outcome.value if isinstance(outcome, Reason) else ACCEPTED
        self.records += 1
        self.of_classes[mutant.event_class.__name__, verdict] += 1
        for mutation in mutant.mutations:
            self.of_mutations[mutation, verdict] += 1
        return outcome

    def fail(self, failure: str, mutant: Mutant | None = None) -> None:
        """Note what must not happen, and all that it takes to do it again."""
        self.failed += 1
        if len(self.failures) < _KEPT:
            self.failures.append(f"{failure}\n  {mutant}" if mutant else failure)

    @property
    def accepted(self) -> float:
        """The share of records that were accepted: a fuzz whose records are nearly all refused tests little."""
        return sum(n for (_, verdict), n in self.of_classes.items() if verdict == ACCEPTED) / max(1, self.records)

    def __str__(self) -> str:
        tables = [_table("by event", self.of_classes)]
        if self.of_mutations:
            tables.append(_table("by mutation", self.of_mutations))
        conclusion = f"{self.records:,} records, {self.accepted:.1%} accepted, {self.failed} failures"
        return "\n".join([*tables, conclusion, *self.failures])


def decoded(mutant: Mutant) -> Event | Reason:
    """What the decoder makes of a record: an event within its bounds, or the reason why it is none.

    Raises AssertionError for anything else.
    """
    decoding = _DECODINGS[mutant.event_class]
    event: Event | None = None
    try:
        verdict: Event | Reason = (event := decoding.any(mutant))
    except InvalidRecordError as error:
        error.detail.encode()  # a dead letter's header takes it
        verdict = error.reason
    except BaseException as error:
        raise AssertionError(f"the decoder raised {type(error).__name__}: {error}") from error
    plainly = _plainly(decoding, mutant)
    assert plainly in (None, [event] if event else []), f"{verdict}, but as a plain record {plainly}"
    if event is None:
        return verdict
    found = violations(event, mutant.timestamp)
    assert not found, f"accepted, though {'; '.join(found)}"
    again = _Again(encode(event), mutant.timestamp)
    for event_again in [decoding.any(again)], _plainly(decoding, again) if len(again.value) < _LONG else [event]:
        assert event_again == [event], f"decoded {event}, encoded and decoded again {event_again}"
    return event


def _plainly(decoding: Decoding[Any], record: "Mutant | _Again") -> list[Event] | None:
    """The event as one of many, out of a batch of Kafka's; none if it is refused, None if the record is not plain."""
    assert decoding.plain
    builder = DefaultRecordBatchBuilder(2, DefaultRecordBatch.CODEC_NONE, 0, -1, -1, -1, 1)
    builder.append(0, record.timestamp, b"key", record.value, list(record.headers))
    found = decoding.plain.headers.values(bytes(builder.build())[_RECORDS:])
    if found is None:
        return None
    values, deltas = found
    assert (values, deltas) == ([record.value], [0]), f"read as {values} at {deltas}"
    return decoding.plain.decode(values, record.timestamp) or []


class _Again:
    """An event's own record, appended at the same moment."""

    def __init__(self, record: OutgoingRecord, timestamp: int) -> None:
        assert record.value is not None
        self.value: bytes = record.value
        self.headers: Headers = record.headers
        self.timestamp = timestamp


def judge(mutants: Iterable[Mutant]) -> Verdicts:
    """Give each record to the decoder of its event type."""
    verdicts = Verdicts()
    for mutant in mutants:
        verdicts.add(mutant)
    return verdicts


def _table(title: str, counts: Counter[tuple[str, str]]) -> str:
    """Rows by name, with the share that was accepted; columns by verdict."""
    verdicts = sorted({verdict for _, verdict in counts}, key=lambda v: (v != ACCEPTED, v))
    totals: Counter[str] = Counter()
    for (name, _), number in counts.items():
        totals[name] += number
    lines = [f"{title:22}{'records':>10} " + " ".join(f"{verdict[:14]:>14}" for verdict in verdicts)]
    for name, total in totals.most_common():
        shares = " ".join(f"{counts[name, verdict] / total:14.1%}" for verdict in verdicts)
        lines.append(f"{name:22}{total:>10,} {shares}")
    return "\n".join(lines)
