"""The one per cent of the load that is odd: what happens to an event, and the reason if it is refused."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from services.kernel.errors import Reason
from services.kernel.events import READINGS_TOPIC

HUGE_BYTES = 1_040_000
"""With key, headers and framing just under what a topic takes (1,048,588)."""

Fields = dict[str, Any]


@dataclass(slots=True)
class Draft:
    """A record in the making: valid until something odd happens to it."""

    topic: str
    fields: Fields
    headers: list[tuple[str, bytes]]
    key: bytes | None
    value: bytes | None = None
    reason: Reason | None = None

    def __post_init__(self) -> None:
        self.encode()

    def encode(self) -> None:
        """Bring the value in line with the fields."""
        self.value = json.dumps(self.fields).encode()

    def set(self, reason: Reason | None = None, **fields: object) -> None:
        """Replace fields, and say what becomes of the record then."""
        self.fields = {**self.fields, **fields}
        self.reason = reason
        self.encode()


def make_odd(chance: Random, now: datetime, draft: Draft) -> None:
    """Let one of the oddities happen to a draft."""
    oddities: Sequence[tuple[Callable[[Random, datetime, Draft], None], float]] = _ODDITIES
    (change,) = chance.choices([odd for odd, _ in oddities], [weight for _, weight in oddities])
    change(chance, now, draft)


def _torn(chance: Random, _: datetime, draft: Draft) -> None:
    whole = draft.value or b""
    draft.value, draft.reason = whole[: chance.randrange(len(whole))], Reason.UNDECODABLE


def _not_utf8(_: Random, __: datetime, draft: Draft) -> None:
    draft.value, draft.reason = b"\xff\xfe\x00", Reason.UNDECODABLE


def _huge_garbage(_: Random, __: datetime, draft: Draft) -> None:
    draft.value, draft.reason = b"{" + b"x" * HUGE_BYTES, Reason.UNDECODABLE


def _huge_unknown_field(_: Random, __: datetime, draft: Draft) -> None:
    draft.value = json.dumps({**draft.fields, "colour": "x" * HUGE_BYTES}).encode()  # ignored: it is applied


def _huge_name(_: Random, __: datetime, draft: Draft) -> None:
    draft.set(display_name="n" * HUGE_BYTES)  # of a reading it is cut, in a report it is an unknown field


def _tombstone(_: Random, __: datetime, draft: Draft) -> None:
    draft.value, draft.reason = None, Reason.TOMBSTONE


def _nothing_at_all(_: Random, __: datetime, draft: Draft) -> None:
    draft.key, draft.value, draft.reason = None, None, Reason.TOMBSTONE


def _null_key(_: Random, __: datetime, draft: Draft) -> None:
    draft.key = None  # it goes to any partition, and is applied


def _next_version(_: Random, __: datetime, draft: Draft) -> None:
    name = "reading" if draft.topic == READINGS_TOPIC else "earnings"
    draft.headers = [("ce_specversion", b"1.0"), ("ce_type", f"minegnk.node.{name}.v2".encode())]
    draft.reason = Reason.UNSUPPORTED_VERSION


def _structured(version: int, reason: Reason | None) -> Callable[[Random, datetime, Draft], None]:
    def change(_: Random, __: datetime, draft: Draft) -> None:
        name = "reading" if draft.topic == READINGS_TOPIC else "earnings"
        envelope = {"specversion": "1.0", "type": f"minegnk.node.{name}.v{version}", "data": draft.fields}
        draft.headers = [("content-type", b"application/cloudevents+json; charset=utf-8")]
        draft.value, draft.reason = json.dumps(envelope).encode(), reason

    return change


def _tomorrow(_: Random, now: datetime, draft: Draft) -> None:
    draft.set(Reason.IN_THE_FUTURE, observed_at=(now + timedelta(hours=2)).isoformat())


def _last_century(_: Random, __: datetime, draft: Draft) -> None:
    draft.set(Reason.OUT_OF_RANGE, observed_at="1999-12-31T23:59:59Z")


def _number_too_large(chance: Random, _: datetime, draft: Draft) -> None:
    if draft.topic == READINGS_TOPIC:
        name, value = chance.choice((("jobs_day", 2**31), ("height", -1), ("voting_weight", "1e12"), ("epoch", -5)))
        draft.set(Reason.OUT_OF_RANGE, **{name: value})
    else:
        draft.set(Reason.OUT_OF_RANGE, amount_ngonka=10**18 + 1)


def _no_number(_: Random, __: datetime, draft: Draft) -> None:
    if draft.topic == READINGS_TOPIC:
        draft.set(Reason.OUT_OF_RANGE, tokens_per_sec="NaN")
    else:
        draft.set(Reason.INVALID_FIELD, amount_ngonka="1.5")


def _stranger(chance: Random, _: datetime, draft: Draft) -> None:
    draft.set(identifier=f"gonka1stranger{chance.getrandbits(64):x}", identifier_type="wallet")
    draft.key = draft.fields["identifier"].encode()


def _contradiction(_: Random, __: datetime, draft: Draft) -> None:
    draft.set(Reason.IDENTIFIER_TYPE_MISMATCH, identifier="gonkavaloper1wrong", identifier_type="wallet")


def _nul_in_identifier(_: Random, __: datetime, draft: Draft) -> None:
    draft.set(Reason.INVALID_FIELD, identifier="gonka1\x00node")


def _nul_in_name(_: Random, __: datetime, draft: Draft) -> None:
    draft.set(display_name="a\x00b", region="\x00")  # folded; a region of nothing is none


def _field_missing(chance: Random, _: datetime, draft: Draft) -> None:
    draft.fields = dict(draft.fields)
    del draft.fields[chance.choice(("identifier", "source", "observed_at"))]
    draft.set(Reason.INVALID_FIELD)


def _field_of_another_type(_: Random, __: datetime, draft: Draft) -> None:
    draft.set(Reason.INVALID_FIELD, source=7)


_ODDITIES: Sequence[tuple[Callable[[Random, datetime, Draft], None], float]] = [
    (_torn, 1),
    (_not_utf8, 1),
    (_huge_garbage, 0.15),
    (_huge_unknown_field, 0.15),
    (_huge_name, 0.15),
    (_tombstone, 1),
    (_nothing_at_all, 0.5),
    (_null_key, 1),
    (_next_version, 1),
    (_structured(1, None), 1),
    (_structured(2, Reason.UNSUPPORTED_VERSION), 1),
    (_tomorrow, 1),
    (_last_century, 1),
    (_number_too_large, 1),
    (_no_number, 1),
    (_stranger, 1),
    (_contradiction, 1),
    (_nul_in_identifier, 1),
    (_nul_in_name, 1),
    (_field_missing, 1),
    (_field_of_another_type, 1),
]
