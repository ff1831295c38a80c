"""An independent validator, brought to what the standard says where it is Python that differs."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.validators import extend

from services.kernel.events import Event
from services.kernel.schemas import schema_of

_PYTHONS_DIGITS = 4000  # of an integer: beyond it Python refuses to read one


class NotJsonError(Exception):
    """Bytes that no schema has a verdict on."""


class NameTwiceError(Exception):
    """An object that holds a name twice: which of the values counts is up to the reader (RFC 8259, 4)."""


def validator_of(event_class: type[Event]) -> Any:
    """A validator of the event's schema that asserts formats too."""
    return _Validator(schema_of(event_class), format_checker=FormatChecker())


def document_of(value: bytes, *, errors: str = "strict") -> Any:
    """The JSON document, numbers exactly as they are written. Raises NotJsonError or NameTwiceError.

    `errors` is what happens to bytes that are not UTF-8 and to halves of surrogate pairs ("strict" or "replace").
    """
    try:
        text = value.decode(errors=errors)
        document = json.loads(
            text,
            parse_int=lambda digits: int(digits) if len(digits) < _PYTHONS_DIGITS else Decimal(digits),
            parse_float=_number,
            parse_constant=_no_constant,
            object_pairs_hook=_object,
        )
        json.dumps(document, default=str, ensure_ascii=False).encode(errors=errors)
    except (ValueError, RecursionError) as error:
        raise NotJsonError(str(error)) from None
    return document


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond even that type
        return Decimal("Infinity") if "-" not in text.lower().partition("e")[2] else Decimal(0)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NameTwiceError
    return found


def _is_integer(_: Any, value: Any) -> bool:
    """1.0 is an integer, and True is none."""
    if isinstance(value, Decimal):
        return value.is_finite() and value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_: Any, value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


def _pattern(validator: Any, pattern: str, value: Any, _: Any) -> Iterator[ValidationError]:
    """In ECMA's regular expressions `$` is the very end; in Python's a line break may follow."""
    if validator.is_type(value, "string") and not re.search(pattern.replace("$", r"\Z"), value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_Validator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {"pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_number}),
)
