"""What the fields of events look like: their bounds, written once, and their descriptions for the published contract.

Nothing here is enforced: the events enforce their bounds themselves, with a reason. `Meta` carries, beside an
annotation, what a JSON Schema says of the value (the type too: where the decoder takes two forms, only we know it), and
as `extra["value"]` the same in a few words for a table.
"""

from typing import Any, get_args

from msgspec import Meta

from services.kernel.money import AMOUNT_LIMIT_NGONKA

INT4_MAX = 2**31 - 1
INT8_MAX = 2**63 - 1
IDENTIFIER_LENGTH = 255
SOURCE_PATTERN = "[a-z0-9][a-z0-9_.-]{0,49}"
CONTROL_PATTERN = r"[\x00-\x20\x7f]"
EARLIEST_YEAR = 2000
LATEST_YEAR = 9998
"""In the last hours of the year 9999 a time with an offset has no UTC."""

VOTING_WEIGHT = (12, 8)
"""Digits before and after the point, as the column takes them."""
TOKENS_PER_SEC = (8, 2)
TEXT_LENGTHS = {
    "active_model": 255,
    "display_name": 100,
    "gpu_type": 50,
    "region": 100,
    "method": 100,
    "kind": 50,
    "last_error": 500,
    "unpublished_reason": 500,
}
"""Characters of free text that are kept, by field."""

_DATE = f"[{EARLIEST_YEAR // 1000}-9][0-9]{{3}}-[01][0-9]-[0-3][0-9]"
_TIME = (
    f"^{_DATE}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]+)?"  # a leap second is no datetime
    "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
_AMOUNT_DIGITS = len(str(AMOUNT_LIMIT_NGONKA)) - 1

EPOCH_PERIOD = {
    "anyOf": [{"type": "integer", "minimum": 0, "maximum": INT4_MAX}, {"type": "string", "pattern": "^[0-9]{1,9}$"}]
}
DATE_PERIOD = {"type": "string", "format": "date", "pattern": f"^{_DATE}$"}


def integer(limit: int, description: str) -> Meta:
    """An integer from 0 to `limit`."""
    return _meta("integer", f"{description} At most {limit}.", {"type": "integer", "minimum": 0, "maximum": limit})


def boolean(description: str) -> Meta:
    """True or false."""
    return _meta("boolean", description, {"type": "boolean"})


def one_of(literal: object, description: str) -> Meta:
    """One of the words of a Literal."""
    words = list(get_args(literal))
    return _meta(", ".join(f"`{word}`" for word in words), description, {"enum": words})


def time(description: str) -> Meta:
    """A moment: RFC 3339 with its offset, cut to microseconds."""
    return _meta("time", description, {"type": "string", "format": "date-time", "pattern": _TIME})


def text(description: str) -> Meta:
    """A text that is taken as it is."""
    return _meta("text", description, {"type": "string"})


def free_text(field: str, description: str) -> Meta:
    """A text that is folded and cut, never refused."""
    return text(f"{description} White space is folded; the first {TEXT_LENGTHS[field]} characters are kept.")


def decimal(precision: tuple[int, int], description: str) -> Meta:
    """A decimal that is not negative, as a number or, for all its digits, as a string."""
    digits, places = precision
    forms = [
        {"type": "number", "minimum": 0, "exclusiveMaximum": 10**digits},
        {"type": "string", "pattern": f"^[0-9]{{1,{digits}}}([.][0-9]+)?$"},
    ]
    return _meta(
        "decimal",
        f"{description} Below 10^{digits}; rounded to {places} places, half away from zero.",
        {"anyOf": forms},
    )


def amount(description: str) -> Meta:
    """A whole number of ngonka, as a number or as a string of digits."""
    limit = AMOUNT_LIMIT_NGONKA
    forms = [
        {"type": "integer", "minimum": -limit, "maximum": limit},
        {"type": "string", "pattern": f"^[+-]?(0?[0-9]{{1,{_AMOUNT_DIGITS}}}|{limit})$"},
    ]
    return _meta("whole ngonka", description, {"anyOf": forms})


def positive_amount(description: str) -> Meta:
    """A whole number of ngonka above 0."""
    forms = [
        {"type": "integer", "minimum": 1, "maximum": AMOUNT_LIMIT_NGONKA},
        {
            "type": "string",
            "pattern": f"^[+]?(0?[0-9]{{1,{_AMOUNT_DIGITS}}}|{AMOUNT_LIMIT_NGONKA})$",
            "not": {"pattern": "^[+]?0+$"},
        },
    ]
    return _meta("whole ngonka, above 0", description, {"anyOf": forms})


def period(description: str) -> Meta:
    """An epoch's number or a UTC date: the kind of the report says which."""
    return _meta("integer or date", description, {"type": ["integer", "string"]})


def identifier(description: str) -> Meta:
    """The name of a node: one word."""
    return _meta(
        f"1 to {IDENTIFIER_LENGTH} characters, no space",
        description,
        {"type": "string", "minLength": 1, "maxLength": IDENTIFIER_LENGTH, "not": {"pattern": CONTROL_PATTERN}},
    )


def source(description: str) -> Meta:
    """The name of a source."""
    return _meta(f"`{SOURCE_PATTERN}`", description, {"type": "string", "pattern": f"^{SOURCE_PATTERN}$"})


def _meta(value: str, description: str, schema: dict[str, Any]) -> Meta:
    return Meta(description=description, extra_json_schema=schema, extra={"value": value})
