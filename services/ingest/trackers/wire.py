"""Lenient reading of trackers' JSON: integers as numbers or strings, nulls, missing and unknown keys, naive times."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from services.kernel.errors import InvalidRecordError, SourceError
from services.kernel.events import type_of

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_WHOLE = re.compile(r"[+-]?\d{1,30}", re.ASCII)
_STATUS_NAMES = ("UNSPECIFIED", "ACTIVE", "INACTIVE", "INVALID", "RAMPING", "UNCONFIRMED")


class Payload(BaseModel):
    """Base of everything read from a tracker."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


def _number(value: object) -> Decimal | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal | float):
        raise ValueError("not a number")
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("not a number") from None
    if not number.is_finite():
        raise ValueError("not a finite number")
    return number


def _whole(value: object) -> int | None:
    if isinstance(value, str) and value and not _WHOLE.fullmatch(value):
        raise ValueError("not a whole number")
    number = _number(value)
    if number is None:
        return None
    if number.adjusted() > 30 or number != number.to_integral_value():
        raise ValueError("not a whole number")
    return int(number)


def _text(value: object) -> str | None:
    return (value.strip() or None) if isinstance(value, str) else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str) and item) if isinstance(value, list) else ()


def _moment(value: object) -> datetime | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError("not a time")
    moment = datetime.fromisoformat(value)  # cuts nine fractional digits to microseconds
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("not a time") from None


def _participant_status(value: object) -> str | None:
    """The chain's enum by name, whether it came as name or number (gonkascan: participant_pb2.py)."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(_STATUS_NAMES):
        return _STATUS_NAMES[value]
    return value.strip().upper() if isinstance(value, str) else None


Whole = Annotated[int | None, BeforeValidator(_whole)]
"""An integer, also as decimal digits; None for null and ""."""
Number = Annotated[Decimal | None, BeforeValidator(_number)]
Text = Annotated[str | None, BeforeValidator(_text)]
"""Free text; whatever is not text is None, for a label must not lose its row."""
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
Moment = Annotated[datetime | None, BeforeValidator(_moment)]
"""An aware UTC datetime; a naive one is UTC (trackers write datetime.utcnow())."""
ParticipantStatus = Annotated[str | None, BeforeValidator(_participant_status)]


class EpochStats(Payload):
    """Counters of the running epoch. They drop to 0 at each settlement (chain: accountsettle.go SettleAccounts)."""

    inference_count: Whole = None


class Participant(Payload):
    """What the chain and the trackers both say of a host, under the same names."""

    index: Text = None
    address: Text = None
    status: ParticipantStatus = None
    current_epoch_stats: EpochStats | None = None

    @property
    def identifier(self) -> str | None:
        """The wallet address."""
        return wallet(self.index, self.address)

    @property
    def jobs(self) -> int | None:
        """The inference count of the running epoch."""
        return self.current_epoch_stats.inference_count if self.current_epoch_stats else None


def read(model: type[M], body: object, what: str) -> M:
    """The body as this model, or SourceError."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise SourceError(f"{what}: unusable reply ({_first(error)})") from None


def rows(value: Any, what: str) -> list[Any]:
    """A list with something in it, or SourceError: an empty list says nothing about anybody."""
    if not isinstance(value, list):
        raise SourceError(f"{what}: no list in the reply")
    if not value:
        raise SourceError(f"{what}: empty list")
    return value


def each(items: Iterable[Any], build: Callable[[Any], T]) -> tuple[list[T], list[str]]:
    """Every item built, and the reasons of those that could not be: one bad row never loses the others."""
    built: list[T] = []
    skipped: list[str] = []
    for item in items:
        try:
            built.append(build(item))
        except InvalidRecordError as error:
            skipped.append(str(error))
        except ValidationError as error:
            skipped.append(_first(error))
    return built, skipped


def wallet(*candidates: str | None) -> str | None:
    """The first that is a wallet address: only hosts are nodes here."""
    return next((text for text in candidates if text and type_of(text) == "wallet"), None)


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"[:200]
