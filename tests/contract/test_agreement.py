"""Schemas and decoder give the same verdict, but for what LIMITS names and a few forms that are not promised."""

import json
import re
import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from itertools import islice
from random import Random
from typing import Any

import pytest

from services.kernel.errors import InvalidRecordError, Reason
from services.kernel.events import EarningsReport, Event, NodeReading
from services.kernel.schemas import EXAMPLES, LIMITS, required_fields
from services.kernel.wire import EVENT_TYPES, decoder_for
from tests.contract.records import APPENDED, Record
from tests.contract.standard import NameTwiceError, NotJsonError, document_of, validator_of
from tests.fuzz.mutations import Mutant, mutants

VALIDATORS = {event_class: validator_of(event_class) for event_class in EVENT_TYPES}
DECODERS: dict[type[Event], Callable[[Record], Event]] = {
    event_class: decoder_for(event_class) for event_class in EVENT_TYPES
}
FIXED_SEED = 20_260_301

Document = dict[str, Any]

REFUSED_BEYOND_THE_SCHEMA: dict[str, Callable[[Reason, str, Document], bool]] = {
    "ahead of the record": lambda reason, _, __: reason is Reason.IN_THE_FUTURE,
    "not within the years in UTC": lambda reason, detail, document: (
        (reason is Reason.OUT_OF_RANGE and "is not within the years" in detail)
        or ("Invalid RFC3339" in detail and any(str(value).startswith("9999-12-31") for value in document.values()))
    ),
    "work and reward": lambda _, detail, __: detail == "amount_ngonka is not work_ngonka + reward_ngonka",
    "an integer as 1.0 or 1e5": lambda _, detail, document: (
        ("got `float`" in detail or "out of range" in detail)
        and any(isinstance(value, Decimal) and value == value.to_integral_value() for value in document.values())
    ),
    "rounds up to the bound": lambda reason, detail, _: reason is Reason.OUT_OF_RANGE and "within 0 and 10^" in detail,
}
"""What the schema accepts and the decoder refuses; each is one of LIMITS, where producers read it."""

UNPROMISED_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)", re.ASCII)
ACCEPTED_BEYOND_THE_SCHEMA: dict[str, Callable[[str, Any], bool]] = {
    "a time in lower case, with a space, or an offset without a colon": lambda field, value: (
        field.endswith("_at") and UNPROMISED_TIME.fullmatch(value) is not None
    ),
    "a decimal with a sign, an exponent, spaces or other digits": lambda field, value: (
        field in {"voting_weight", "tokens_per_sec"} and isinstance(value, str)
    ),
    "a negative decimal that rounds to zero": lambda field, value: (
        field in {"voting_weight", "tokens_per_sec"} and isinstance(value, Decimal) and Decimal("-0.005") <= value <= 0
    ),
    "an epoch with ten digits, a date in another form of ISO 8601": lambda field, value: (
        field == "period" and re.fullmatch(r"\d{8}|\d{10}|\d{4}-W\d\d-\d|\d{4}W\d{3}", str(value), re.ASCII) is not None
    ),
}
"""What the decoder accepts and the schema does not promise."""


def disagreement(event_class: type[Event], value: bytes) -> str | None:
    """What only one of the two accepts, by the name of the exception that it is; None where they agree.

    Raises AssertionError where nothing explains it.
    """
    reason, detail = None, ""
    try:
        DECODERS[event_class](Record(value))
    except InvalidRecordError as error:
        reason, detail = error.reason, error.detail
    try:
        document = document_of(value)
    except NotJsonError:
        if reason is not None:
            return None
        with suppress(NameTwiceError):
            assert _is_text_where_it_is_read(event_class, value), f"accepted, though it is no JSON: {value!r}"
        return "no text in what is ignored"
    except NameTwiceError:
        return "a name twice"
    if (reason is None) == VALIDATORS[event_class].is_valid(document):
        return None
    if reason is None:
        errors = list(VALIDATORS[event_class].iter_errors(document))
        fields = {str(error.path[0]) if error.path else "" for error in errors}
        names = [_name_of(ACCEPTED_BEYOND_THE_SCHEMA, field, document.get(field)) for field in fields]
        assert None not in names, f"the decoder accepts {value!r}; the schema: {[error.message for error in errors]}"
        return names[0]
    name = _name_of(REFUSED_BEYOND_THE_SCHEMA, reason, detail, document)
    assert name is not None, f"the schema accepts {value!r}; the decoder: {reason}: {detail}"
    return name


def _is_text_where_it_is_read(event_class: type[Event], value: bytes) -> bool:
    document = document_of(value, errors="replace")
    read = "".join(str(document.get(field)) for field in event_class.__struct_fields__)
    return not re.search("[\ufffd\ud800-\udfff]", read)


def _name_of(exceptions: dict[str, Callable[..., bool]], *found: Any) -> str | None:
    return next((name for name, explains in exceptions.items() if explains(*found)), None)


@pytest.mark.parametrize("seed", [FIXED_SEED, secrets.randbelow(10**9)], ids=["fixed", "by chance"])
def test_schema_and_decoder_agree_on_mutated_events(seed: int) -> None:
    verdicts: Counter[str | None] = Counter()
    drawn = (mutant for mutant in mutants(Random(seed), APPENDED) if _is_plain(mutant))
    for mutant in islice(drawn, 4_000):
        assert mutant.value is not None
        try:
            verdicts[disagreement(mutant.event_class, mutant.value)] += 1
        except AssertionError as failure:
            raise AssertionError(f"seed {seed}: {mutant.mutations}: {failure}") from None
    assert verdicts[None] > 0.85 * verdicts.total()


def _is_plain(mutant: Mutant) -> bool:
    """Whether the value is to be the event itself, and not in an envelope."""
    return mutant.value is not None and not any("envelope" in mutation for mutation in mutant.mutations)


@pytest.mark.parametrize(
    ("exception", "changes"),
    [
        ("ahead of the record", {"observed_at": "2026-03-01T12:05:01Z"}),
        ("ahead of the record", {"kind": "day", "period": "2026-03-02"}),
        ("not within the years in UTC", {"observed_at": "2000-01-01T00:00:00+00:01"}),
        ("not within the years in UTC", {"observed_at": "9999-12-31T23:59:59.9999999Z"}),
        ("work and reward", {"work_ngonka": 1, "reward_ngonka": 1}),
        ("an integer as 1.0 or 1e5", {"period": 186.0}),
        ("rounds up to the bound", {"voting_weight": "999999999999.999999995"}),
        ("a time in lower case, with a space, or an offset without a colon", {"observed_at": "2026-03-01t11:00:00z"}),
        ("a decimal with a sign, an exponent, spaces or other digits", {"voting_weight": "1e5"}),
        ("a negative decimal that rounds to zero", {"tokens_per_sec": -0.001}),
        ("an epoch with ten digits, a date in another form of ISO 8601", {"kind": "day", "period": "2026-W05-2"}),
        ("an epoch with ten digits, a date in another form of ISO 8601", {"period": "2147483647"}),
    ],
)
def test_schema_and_decoder_differ_where_it_is_said(exception: str, changes: Document) -> None:
    named = {*REFUSED_BEYOND_THE_SCHEMA, *ACCEPTED_BEYOND_THE_SCHEMA}
    assert exception in named
    event_class = NodeReading if {"voting_weight", "tokens_per_sec"} & set(changes) else EarningsReport
    document = json.dumps(EXAMPLES[event_class] | changes).encode()
    assert disagreement(event_class, document) == exception


def test_what_the_decoder_refuses_beyond_the_schema_is_said_to_producers() -> None:
    assert len(LIMITS) == len(REFUSED_BEYOND_THE_SCHEMA) + 1  # a name twice


@pytest.mark.parametrize("event_class", EVENT_TYPES)
def test_both_refuse_an_event_without_a_field_it_needs(event_class: type[Event]) -> None:
    example = EXAMPLES[event_class]
    for field in example:
        document = {name: value for name, value in example.items() if name != field}
        assert disagreement(event_class, json.dumps(document).encode()) is None
        if field in required_fields(event_class):
            assert not VALIDATORS[event_class].is_valid(document)


def test_a_schema_that_is_off_by_one_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.dumps(EXAMPLES[NodeReading] | {"jobs_day": 2**31 - 1}).encode()
    assert disagreement(NodeReading, document) is None
    monkeypatch.setitem(VALIDATORS[NodeReading].schema["properties"]["jobs_day"], "maximum", 2**31 - 2)
    with pytest.raises(AssertionError, match="the decoder accepts"):
        disagreement(NodeReading, document)
