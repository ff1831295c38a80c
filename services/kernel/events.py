"""The events: their fields and bounds. The contract that producers and services share.

Bounds are checked wherever an event is made, at decode and in the adapters alike: every event that exists fits its
column.
"""

import re
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec.structs import force_setattr

from services.kernel.errors import InvalidRecordError, Reason
from services.kernel.money import ngonka

READINGS_TOPIC = "node.readings.v1"
EARNINGS_TOPIC = "node.earnings.v1"
REFRESH_TOPIC = "node.refresh.v1"
SOURCE_STATUS_TOPIC = "source.status.v1"

OPERATOR_SOURCE = "operator"
"""The name under which a person sets facts; it outranks every tracker."""

IdentifierType = Literal["wallet", "node_id", "operator", "validator"]
Status = Literal["healthy", "unhealthy", "jailed", "offline"]
EarningsKind = Literal["epoch", "day", "total"]
Time = Annotated[datetime, msgspec.Meta(tz=True)]

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)  # in the last hours of that year a time with an offset has no UTC
_INT4_MAX = 2**31 - 1
_INT8_MAX = 2**63 - 1
_SOURCE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,49}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_SPACES = re.compile(r"\s+")
_ROUNDING = Context(prec=60, rounding=ROUND_HALF_UP)
_FORMS: tuple[tuple[str, IdentifierType], ...] = (
    ("gonkavaloper1", "operator"),
    ("gonkavalcons1", "validator"),
    ("gonka1", "wallet"),
)


def type_of(identifier: str) -> IdentifierType | None:
    """The type that an identifier's form gives (bech32 prefixes of the chain), or None for a form of its own.

    An ML node is written `address/node_id`: its id is unique only within its host.
    """
    for prefix, identifier_type in _FORMS:
        if identifier.startswith(prefix):
            return "node_id" if "/" in identifier else identifier_type
    return "node_id" if "/" in identifier else None


def clean_text(value: str | None, limit: int) -> str | None:
    """Free text as a column takes it: white space and NUL folded, cut to `limit` characters, None when empty."""
    if value is None:
        return None
    return _SPACES.sub(" ", value.replace("\x00", " ")).strip()[:limit].strip() or None


class NodeReading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one source saw of one node at one time. (identifier, source, observed_at) identifies it.

    A reading with a status may become the node's row in node_stats_cache; one without only carries facts
    (tokens_per_sec, display_name, gpu_type, region). An absent field means unknown, never zero. `jobs_day` is the
    inference count of the running epoch, `voting_weight` the weight in the epoch's group. `health_probed` says that the
    status rests on a probe of the host's health: only such readings count for uptime.
    """

    identifier: str
    identifier_type: IdentifierType
    source: str
    observed_at: Time
    status: Status | None = None
    health_probed: bool = False
    jobs_day: int | None = None
    active_model: str | None = None
    voting_weight: Decimal | None = None
    epoch: int | None = None
    height: int | None = None
    tokens_per_sec: Decimal | None = None
    display_name: str | None = None
    gpu_type: str | None = None
    region: str | None = None

    def __post_init__(self) -> None:
        """Bring every field into its column's form, or raise InvalidRecordError."""
        _check_identity(self.identifier, self.identifier_type, self.source)
        _check_time("observed_at", self.observed_at)
        _check_integer("jobs_day", self.jobs_day, _INT4_MAX)
        _check_integer("epoch", self.epoch, _INT4_MAX)
        _check_integer("height", self.height, _INT8_MAX)
        if self.voting_weight is not None:
            force_setattr(self, "voting_weight", _decimal("voting_weight", self.voting_weight, 12, 8))
        if self.tokens_per_sec is not None:
            force_setattr(self, "tokens_per_sec", _decimal("tokens_per_sec", self.tokens_per_sec, 8, 2))
        for field, limit in (("active_model", 255), ("display_name", 100), ("gpu_type", 50), ("region", 100)):
            value = getattr(self, field)
            if value is not None:
                force_setattr(self, field, clean_text(value, limit))


class EarningsReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one source says a node earned in one period, in whole ngonka.

    kind `epoch`: settled by the network, `period` is the epoch's number. kind `day`: the source's own counter of a UTC
    date. kind `total`: a lifetime counter as it stood at the end of a UTC date (the last value seen on it).
    `settled_at` is the block time at which the epoch settled, `settled_exact` says whether it was read or interpolated.
    Only `final` reports become history; `method` says how an amount that is not final was estimated.
    """

    identifier: str
    identifier_type: IdentifierType
    source: str
    kind: EarningsKind
    period: int | str
    amount_ngonka: int | str
    observed_at: Time
    work_ngonka: int | str | None = None
    reward_ngonka: int | str | None = None
    settled_at: Time | None = None
    settled_exact: bool = False
    final: bool = False
    claimed: bool | None = None
    method: str | None = None

    def __post_init__(self) -> None:
        """Bring every field into its column's form, or raise InvalidRecordError."""
        _check_identity(self.identifier, self.identifier_type, self.source)
        _check_time("observed_at", self.observed_at)
        force_setattr(self, "period", _period(self.kind, self.period))
        for field in ("amount_ngonka", "work_ngonka", "reward_ngonka"):
            value = getattr(self, field)
            if value is not None:
                force_setattr(self, field, _ngonka(field, value))
        if (
            self.work_ngonka is not None
            and self.reward_ngonka is not None
            and self.amount != int(self.work_ngonka) + int(self.reward_ngonka)
        ):
            raise InvalidRecordError(Reason.INVALID_FIELD, "amount_ngonka is not work_ngonka + reward_ngonka")
        if self.settled_at is not None:
            _check_time("settled_at", self.settled_at)
        force_setattr(self, "method", None if self.final else clean_text(self.method, 100))
        if self.kind == "epoch" and self.final and self.settled_at is None:
            raise InvalidRecordError(Reason.INVALID_FIELD, "a final epoch report needs settled_at")

    @property
    def amount(self) -> int:
        """The amount in ngonka."""
        return int(self.amount_ngonka)

    @property
    def period_number(self) -> int:
        """The period as the ledger stores it: the epoch's number, or the UTC date as yyyymmdd."""
        return int(str(self.period).replace("-", ""))


class RefreshRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Please poll this source now or, where `epoch` is given, publish that epoch's settlement again."""

    source: str
    requested_at: Time
    requested_by: str
    epoch: int | None = None

    def __post_init__(self) -> None:
        """Check every field, or raise InvalidRecordError."""
        check_source(self.source)
        _check_time("requested_at", self.requested_at)
        _check_integer("epoch", self.epoch, _INT4_MAX)


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a source does, and the preferences with which its readings are merged.

    `data_at` is the time of the newest data it gave. A source that answers 200 with old data has an old `data_at`.
    `newest_settled` is the newest epoch that it knows to have settled. Each attempt at an epoch is told at once:
    `published_epoch` is one whose reports Kafka has just acknowledged, all of them; `unpublished_epoch` is one that is
    not complete, and `unpublished_reason` why not. A source that only states what all hosts together were rewarded
    tells that instead: `total_ngonka`, its own total of `total_epoch` (work coins are no part of it).
    """

    source: str
    kind: str
    reported_at: Time
    preference_seconds: int
    earnings_order: int
    probes_health: bool
    poll_interval_seconds: int
    last_attempt_at: Time | None = None
    last_success_at: Time | None = None
    last_error_at: Time | None = None
    last_error: str | None = None
    data_at: Time | None = None
    epoch: int | None = None
    height: int | None = None
    newest_settled: int | None = None
    published_epoch: int | None = None
    unpublished_epoch: int | None = None
    unpublished_reason: str | None = None
    total_epoch: int | None = None
    total_ngonka: int | str | None = None

    def __post_init__(self) -> None:
        """Check every field, or raise InvalidRecordError."""
        check_source(self.source)
        for field in ("reported_at", "last_attempt_at", "last_success_at", "last_error_at", "data_at"):
            value = getattr(self, field)
            if value is not None:
                _check_time(field, value)
        for field in (
            "preference_seconds",
            "earnings_order",
            "poll_interval_seconds",
            "epoch",
            "newest_settled",
            "published_epoch",
            "unpublished_epoch",
            "total_epoch",
        ):
            _check_integer(field, getattr(self, field), _INT4_MAX)
        if (self.total_epoch is None) != (self.total_ngonka is None):
            raise InvalidRecordError(Reason.INVALID_FIELD, "total_epoch and total_ngonka need each other")
        if self.total_ngonka is not None:
            force_setattr(self, "total_ngonka", _ngonka("total_ngonka", self.total_ngonka))
            if int(self.total_ngonka) < 1:
                raise InvalidRecordError(Reason.OUT_OF_RANGE, "total_ngonka: 0 means unknown, and is left out")
        _check_integer("height", self.height, _INT8_MAX)
        force_setattr(self, "kind", clean_text(self.kind, 50) or "unknown")
        force_setattr(self, "last_error", clean_text(self.last_error, 500))
        force_setattr(self, "unpublished_reason", clean_text(self.unpublished_reason, 500))


Event = NodeReading | EarningsReport | RefreshRequest | SourceStatus
E = TypeVar("E", bound=Event)


def _check_identity(identifier: str, identifier_type: IdentifierType, source: str) -> None:
    check_source(source)
    if not identifier or len(identifier) > 255 or _CONTROL.search(identifier):
        raise InvalidRecordError(
            Reason.INVALID_FIELD, "identifier: 1 to 255 characters without spaces or control characters"
        )
    known = type_of(identifier)
    if known is not None and known != identifier_type:
        raise InvalidRecordError(Reason.IDENTIFIER_TYPE_MISMATCH, f"{identifier} is a {known}, not a {identifier_type}")


def check_source(source: str) -> None:
    """Raise InvalidRecordError unless this is a source's name."""
    if not _SOURCE.fullmatch(source):
        raise InvalidRecordError(
            Reason.INVALID_FIELD, "source: 1 to 50 of a-z, 0-9, '_', '.', '-', starting with a letter or digit"
        )


def _check_time(field: str, value: datetime) -> None:
    if value.utcoffset() is None:
        raise InvalidRecordError(Reason.INVALID_FIELD, f"{field} has no time zone")
    if not _EARLIEST <= value < _LATEST:
        raise InvalidRecordError(Reason.OUT_OF_RANGE, f"{field} is not within the years 2000 to 9998")


def _check_integer(field: str, value: int | None, limit: int) -> None:
    if value is not None and not 0 <= value <= limit:
        raise InvalidRecordError(Reason.OUT_OF_RANGE, f"{field} is not within 0 and {limit}")


def _decimal(field: str, value: Decimal, digits: int, places: int) -> Decimal:
    """The value rounded to `places`, at most `digits` before the point, as its column takes it; not negative."""
    try:
        rounded = value.quantize(Decimal(1).scaleb(-places), context=_ROUNDING)
    except InvalidOperation:  # NaN, an infinity, or far too many digits
        raise InvalidRecordError(Reason.OUT_OF_RANGE, f"{field} is not a finite number in range") from None
    if not rounded.is_finite() or not 0 <= rounded < 10**digits:
        raise InvalidRecordError(Reason.OUT_OF_RANGE, f"{field} is not within 0 and 10^{digits}")
    return rounded


def _ngonka(field: str, value: int | str) -> int:
    try:
        return ngonka(value)
    except ValueError as error:
        reason = Reason.OUT_OF_RANGE if "beyond" in str(error) else Reason.INVALID_FIELD
        raise InvalidRecordError(reason, f"{field}: {error}") from None


def _period(kind: EarningsKind, period: int | str) -> int | str:
    """The period in its one form: an epoch's number as an integer, a UTC date as YYYY-MM-DD."""
    if kind == "epoch":
        if isinstance(period, str):
            if not period.isascii() or not period.isdigit() or len(period) > 10:
                raise InvalidRecordError(Reason.INVALID_FIELD, f"period: not an epoch's number: {period[:40]!r}")
            period = int(period)
        _check_integer("period", period, _INT4_MAX)
        return period
    try:
        day = date.fromisoformat(str(period))
    except ValueError:
        raise InvalidRecordError(
            Reason.INVALID_FIELD, f"period: not a date (YYYY-MM-DD): {str(period)[:40]!r}"
        ) from None
    if day.year < _EARLIEST.year:
        raise InvalidRecordError(Reason.OUT_OF_RANGE, "period is before the year 2000")
    return day.isoformat()
