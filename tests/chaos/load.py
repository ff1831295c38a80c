"""The load: readings and reports out of order, repeated, from several sources, and one per cent of what goes wrong."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from services.kernel.errors import Reason
from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC, SOURCE_STATUS_TOPIC, SourceStatus
from services.kernel.wire import OutgoingRecord
from tests.chaos.oddities import Draft, Fields, make_odd

NUMBER_HEADER = "chaos_number"

READING_SHARE = 0.7
REPEATED_SHARE = 0.03
ODD_SHARE = 0.01
NODES = 400
EPOCHS = 40
STATUSES = 100

PREFERENCES = {"alpha": 600, "beta": 0, "gamma": 120}
EARNINGS_ORDER = {"chain": 0, "scan": 10}
"""Of the sources in tracker_sources; reports of `unlisted` rank behind them."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A record to be published. `number` travels in a header; `fields` is the event of one that is to be applied."""

    number: int
    record: OutgoingRecord
    fields: Fields | None
    reason: Reason | None


def source_statuses(now: datetime) -> list[SourceStatus]:
    """What has to be known before the first reading: each source's preference and order."""
    return [
        SourceStatus(
            source=name,
            kind="tracker_api",
            reported_at=now - timedelta(hours=3),
            preference_seconds=PREFERENCES.get(name, 0),
            earnings_order=EARNINGS_ORDER.get(name, 50),
            probes_health=name in PREFERENCES,
            poll_interval_seconds=60,
        )
        for name in (*PREFERENCES, *EARNINGS_ORDER)
    ]


def load(chance: Random, events: int, now: datetime) -> list[Sent]:
    """As many records, in the order in which they are to be published; `now` is about when that begins."""
    writer = _Writer(chance, now)
    drafts: list[Draft] = []
    for _ in range(events):
        if drafts and chance.random() < REPEATED_SHARE:
            drafts.append(chance.choice(drafts))
            continue
        draft = writer.reading() if chance.random() < READING_SHARE else writer.report()
        if chance.random() < ODD_SHARE:
            make_odd(chance, now, draft)
        drafts.append(draft)
    records = [_sent(number, draft) for number, draft in enumerate(drafts)]
    statuses = [_status(events + number, chance, now) for number in range(STATUSES)]
    for status in statuses:
        records.insert(chance.randrange(len(records)), status)
    return records


def _sent(number: int, draft: Draft) -> Sent:
    headers = [*draft.headers, (NUMBER_HEADER, str(number).encode())]
    record = OutgoingRecord(draft.topic, draft.key, draft.value, headers)
    return Sent(number, record, draft.fields if draft.reason is None else None, draft.reason)


def _status(number: int, chance: Random, now: datetime) -> Sent:
    source = chance.choice(source_statuses(now))
    reported_at = now - timedelta(microseconds=chance.randrange(7_200 * 10**6))
    data_at = reported_at - timedelta(seconds=chance.randrange(3_600))
    fields = {
        **{name: getattr(source, name) for name in source.__struct_fields__ if getattr(source, name) is not None},
        "reported_at": reported_at.isoformat(),
        "data_at": data_at.isoformat(),
    }
    value = json.dumps(fields).encode()
    headers = [(NUMBER_HEADER, str(number).encode())]
    return Sent(number, OutgoingRecord(SOURCE_STATUS_TOPIC, source.source.encode(), value, headers), fields, None)


class _Writer:
    """Makes valid events. No two different ones share an identity: that would be a producer's fault."""

    def __init__(self, chance: Random, now: datetime) -> None:
        self._chance = chance
        self._now = now
        self._times: set[datetime] = set()
        today = now.date()
        self._settled = [
            datetime(today.year, today.month, today.day, tzinfo=UTC)
            - timedelta(hours=22 * (EPOCHS - epoch), minutes=chance.randrange(60))
            for epoch in range(EPOCHS)
        ]

    def reading(self) -> Draft:
        """A reading with a status or only with facts."""
        chance = self._chance
        identifier, identifier_type = _node(chance.randrange(NODES))
        fields: Fields = {
            "identifier": identifier,
            "identifier_type": identifier_type,
            "source": chance.choice((*PREFERENCES, "operator") if chance.random() < 0.1 else (*PREFERENCES,)),
            "observed_at": self._time(timedelta(hours=2)).isoformat(),
        }
        if chance.random() < 0.9:
            fields |= {
                "status": chance.choice(("healthy", "healthy", "unhealthy", "jailed", "offline")),
                "health_probed": chance.random() < 0.5,
                "jobs_day": chance.randrange(10**6),
                "voting_weight": f"{chance.randrange(10**12)}.{chance.randrange(10**8):08}",
            }
        if chance.random() < 0.2:
            fields |= {
                "tokens_per_sec": f"{chance.randrange(10**4)}.{chance.randrange(100):02}",
                "display_name": f"Node {chance.randrange(1000)}",
                "gpu_type": chance.choice(("H100", "H200", "B200")),
            }
        return Draft(READINGS_TOPIC, fields, _headers(chance, "minegnk.node.reading"), identifier.encode())

    def report(self) -> Draft:
        """A report of what a node earned: most of epochs, some nodes have only day counters or only a total."""
        chance = self._chance
        node = chance.randrange(NODES)
        identifier, identifier_type = _node(node)
        kinds = {0: ("day", "total"), 1: ("total",)}.get(node % 10, ("epoch",) * 8 + ("day", "total"))
        kind = chance.choice(kinds)
        final = chance.random() < 0.8
        observed_at = self._time(timedelta(days=5))
        fields: Fields = {
            "identifier": identifier,
            "identifier_type": identifier_type,
            "source": chance.choice((*EARNINGS_ORDER, "unlisted")),
            "kind": kind,
            "observed_at": observed_at.isoformat(),
            "final": final,
            "amount_ngonka": chance.randrange(-(10**12) if chance.random() < 0.02 else 0, 10**14),
        }
        if kind == "epoch":
            fields |= self._epoch(final)
        else:
            fields["period"] = (self._now.date() - timedelta(days=chance.randrange(1, 30))).isoformat()
        if chance.random() < 0.5:
            work = chance.randrange(10**12)
            fields |= {"work_ngonka": work, "reward_ngonka": str(fields["amount_ngonka"] - work)}
        if chance.random() < 0.3:
            fields["amount_ngonka"] = str(fields["amount_ngonka"])
        if chance.random() < 0.2:
            fields["claimed"] = chance.random() < 0.5
        return Draft(EARNINGS_TOPIC, fields, _headers(chance, "minegnk.node.earnings"), identifier.encode())

    def _epoch(self, final: bool) -> Fields:
        chance = self._chance
        epoch = chance.randrange(EPOCHS)
        exact = chance.random() < 0.5
        guess = timedelta(0) if exact else timedelta(hours=chance.uniform(-14, 14))
        if not final:
            return {"period": epoch}
        return {"period": epoch, "settled_at": (self._settled[epoch] + guess).isoformat(), "settled_exact": exact}

    def _time(self, within: timedelta) -> datetime:
        """A moment before now that no other event has, to the microsecond."""
        while True:
            ago = timedelta(microseconds=self._chance.randrange(60 * 10**6, within // timedelta(microseconds=1)))
            if (moment := self._now - ago) not in self._times:
                self._times.add(moment)
                return moment


def _node(number: int) -> tuple[str, str]:
    forms = (
        (f"gonka1node{number}", "wallet"),
        (f"gonkavaloper1node{number}", "operator"),
        (f"gonka1host{number}/ml-{number % 4}", "node_id"),
        (f"gpu-{number}", "node_id"),
    )
    return forms[number // 10 % len(forms)]


def _headers(chance: Random, name: str) -> list[tuple[str, bytes]]:
    """CloudEvents' binary mode, or none at all: both are accepted."""
    if chance.random() < 0.3:
        return []
    return [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_type", f"{name}.v1".encode()),
        ("ce_source", b"/minegnk/chaos"),
        ("ce_id", f"{chance.getrandbits(64):x}".encode()),
    ]
