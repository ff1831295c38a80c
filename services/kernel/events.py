"""The events: their fields and bounds. The contract of producers and services; `minegnk contract` writes it out.

Bounds are checked wherever an event is made, at decode and in the adapters alike: every event that exists fits its
column.
"""

import re
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Annotated, Literal, NoReturn, TypeVar

import msgspec
from msgspec.structs import force_setattr

from services.kernel import fields
from services.kernel.errors import InvalidRecordError, Reason
from services.kernel.fields import (
    IDENTIFIER_LENGTH,
    INT4_MAX,
    INT8_MAX,
    TEXT_LENGTHS,
    TOKENS_PER_SEC,
    VOTING_WEIGHT,
)
from services.kernel.memo import Memo
from services.kernel.money import AMOUNT_LIMIT_NGONKA, ngonka

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

_EARLIEST = datetime(fields.EARLIEST_YEAR, 1, 1, tzinfo=UTC)
_LATEST = datetime(fields.LATEST_YEAR + 1, 1, 1, tzinfo=UTC)
_SOURCE = re.compile(fields.SOURCE_PATTERN, re.ASCII)
_CONTROL = re.compile(fields.CONTROL_PATTERN)
_SPACES = re.compile(r"\s+")
_IDENTIFIER = fields.identifier("The node: an address of the chain, `address/node_id`, or a name of its own form.")
_BY = fields.source("Who says so: each producer has its own name.")
_CONCERNED = fields.source("The source that it is about.")
_IDENTIFIER_TYPE = fields.one_of(IdentifierType, "What the identifier is. The forms of the chain's addresses give it.")
_ROUNDING = Context(prec=60, rounding=ROUND_HALF_UP)
_ZERO = Decimal(0)


def _unit_and_limit(digits: int, places: int) -> tuple[Decimal, Decimal]:
    return Decimal(1).scaleb(-places), Decimal(10) ** digits


_WEIGHT_UNIT, _WEIGHT_LIMIT = _unit_and_limit(*VOTING_WEIGHT)
_TOKENS_PER_SEC = _unit_and_limit(*TOKENS_PER_SEC)
FORMS: tuple[tuple[str, IdentifierType], ...] = (
    ("gonkavaloper1", "operator"),
    ("gonkavalcons1", "validator"),
    ("gonka1", "wallet"),
)
"""Prefixes of the chain's addresses, each with the type that it gives."""


def type_of(identifier: str) -> IdentifierType | None:
    """The type that an identifier's form gives (bech32 prefixes of the chain), or None for a form of its own.

    An ML node is written `address/node_id`: its id is unique only within its host.
    """
    for prefix, identifier_type in FORMS:
        if identifier.startswith(prefix):
            return "node_id" if "/" in identifier else identifier_type
    return "node_id" if "/" in identifier else None


def clean_text(value: str | None, limit: int) -> str | None:
    """Free text as a column takes it: white space and NUL folded, cut to `limit` characters, None when empty."""
    if value is None:
        return None
    return _SPACES.sub(" ", value.replace("\x00", " ")).strip()[:limit].strip() or None


class NodeReading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one source saw of one node at one time. (identifier, source, observed_at) identifies it.

    A reading with a status may become the node's row in node_stats_cache; one without only carries facts
    (tokens_per_sec, display_name, gpu_type, region). An absent field means unknown, never zero. `jobs_day` is the
    inference count of the running epoch, `voting_weight` the weight in the epoch's group. `health_probed` says that the
    status rests on a probe of the host's health: only such readings count for uptime.
    """

    identifier: Annotated[str, _IDENTIFIER]
    identifier_type: Annotated[IdentifierType, _IDENTIFIER_TYPE]
    source: Annotated[str, _BY]
    observed_at: Annotated[Time, fields.time("When the source saw the node. Never when it was asked, or published.")]
    status: Annotated[Status | None, fields.one_of(Status, "How the node does.")] = None
    health_probed: Annotated[bool, fields.boolean("Whether the status rests on a probe of the host's health.")] = False
    jobs_day: Annotated[int | None, fields.integer(INT4_MAX, "Inferences of the running epoch.")] = None
    active_model: Annotated[str | None, fields.free_text("active_model", "The model that it serves.")] = None
    voting_weight: Annotated[Decimal | None, fields.decimal(VOTING_WEIGHT, "Its weight in the epoch's group.")] = None
    epoch: Annotated[int | None, fields.integer(INT4_MAX, "The running epoch's number.")] = None
    height: Annotated[int | None, fields.integer(INT8_MAX, "The block at which a chain's node answered.")] = None
    tokens_per_sec: Annotated[
        Decimal | None, fields.decimal(TOKENS_PER_SEC, "Tokens that it generates in a second.")
    ] = None
    display_name: Annotated[str | None, fields.free_text("display_name", "What people call it.")] = None
    gpu_type: Annotated[str | None, fields.free_text("gpu_type", "Its GPUs.")] = None
    region: Annotated[str | None, fields.free_text("region", "Where it stands.")] = None

    def __post_init__(self) -> None:
        """Bring every field into its column's form, or raise InvalidRecordError."""
        # Every reading of the network passes here, and Python's calls cost more than what they would do: the common
        # case of each field is told in place, and the functions are for the others.
        known = _identifiers[self.identifier]
        if known is not None and known != self.identifier_type:
            _refuse_type(self.identifier, self.identifier_type)
        _sources[self.source]
        if self.observed_at.tzinfo is None or not _EARLIEST <= self.observed_at < _LATEST:
            _check_time("observed_at", self.observed_at)
        if (jobs_day := self.jobs_day) is not None and not 0 <= jobs_day <= INT4_MAX:
            _check_integer("jobs_day", jobs_day, INT4_MAX)
        if (epoch := self.epoch) is not None and not 0 <= epoch <= INT4_MAX:
            _check_integer("epoch", epoch, INT4_MAX)
        if (height := self.height) is not None and not 0 <= height <= INT8_MAX:
            _check_integer("height", height, INT8_MAX)
        if (weight := self.voting_weight) is not None and not (
            weight.same_quantum(_WEIGHT_UNIT) and _ZERO <= weight < _WEIGHT_LIMIT
        ):
            force_setattr(self, "voting_weight", _decimal("voting_weight", weight, _WEIGHT_UNIT, _WEIGHT_LIMIT))
        if (speed := self.tokens_per_sec) is not None:
            force_setattr(self, "tokens_per_sec", _decimal("tokens_per_sec", speed, *_TOKENS_PER_SEC))
        if (text := self.active_model) is not None:
            force_setattr(self, "active_model", _active_models[text])
        if (text := self.display_name) is not None:
            force_setattr(self, "display_name", _display_names[text])
        if (text := self.gpu_type) is not None:
            force_setattr(self, "gpu_type", _gpu_types[text])
        if (text := self.region) is not None:
            force_setattr(self, "region", _regions[text])


class EarningsReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one source says a node earned in one period, in whole ngonka.

    kind `epoch`: settled by the network, `period` is the epoch's number. kind `day`: the source's own counter of a UTC
    date. kind `total`: a lifetime counter as it stood at the end of a UTC date (the last value seen on it).
    `settled_at` is the block time at which the epoch settled, `settled_exact` says whether it was read or interpolated.
    Only `final` reports become history; `method` says how an amount that is not final was estimated.
    """

    identifier: Annotated[str, _IDENTIFIER]
    identifier_type: Annotated[IdentifierType, _IDENTIFIER_TYPE]
    source: Annotated[str, _BY]
    kind: Annotated[
        EarningsKind,
        fields.one_of(
            EarningsKind,
            "Settled by the network; a source's counter of a UTC date; or of a lifetime, at the date's end.",
        ),
    ]
    period: Annotated[int | str, fields.period("Of kind `epoch`: its number. Otherwise a UTC date, YYYY-MM-DD.")]
    amount_ngonka: Annotated[int | str, fields.amount("What the node earned.")]
    observed_at: Annotated[Time, fields.time("When the source said so: of two reports on a period the later counts.")]
    work_ngonka: Annotated[int | str | None, fields.amount("The part for work.")] = None
    reward_ngonka: Annotated[
        int | str | None, fields.amount("The part that is a reward. With both parts, the amount is their sum.")
    ] = None
    settled_at: Annotated[
        Time | None, fields.time("The block time at which the epoch settled. A final report of an epoch needs it.")
    ] = None
    settled_exact: Annotated[bool, fields.boolean("Whether settled_at was read, not interpolated.")] = False
    final: Annotated[bool, fields.boolean("Whether it is settled: only such reports become history.")] = False
    claimed: Annotated[bool | None, fields.boolean("Whether the reward was claimed.")] = None
    method: Annotated[str | None, fields.free_text("method", "How an amount that is not final was estimated.")] = None

    def __post_init__(self) -> None:
        """Bring every field into its column's form, or raise InvalidRecordError."""
        # As with readings, the common case of each field is told in place.
        _check_identity(self.identifier, self.identifier_type, self.source)
        if self.observed_at.tzinfo is None or not _EARLIEST <= self.observed_at < _LATEST:
            _check_time("observed_at", self.observed_at)
        period = self.period
        if self.kind != "epoch" or isinstance(period, str) or not 0 <= period <= INT4_MAX:
            force_setattr(self, "period", _period(self.kind, period))
        if not _is_amount(self.amount_ngonka):
            force_setattr(self, "amount_ngonka", _ngonka("amount_ngonka", self.amount_ngonka))
        if (work := self.work_ngonka) is not None and not _is_amount(work):
            force_setattr(self, "work_ngonka", _ngonka("work_ngonka", work))
        if (reward := self.reward_ngonka) is not None and not _is_amount(reward):
            force_setattr(self, "reward_ngonka", _ngonka("reward_ngonka", reward))
        if (
            self.work_ngonka is not None
            and self.reward_ngonka is not None
            and self.amount != int(self.work_ngonka) + int(self.reward_ngonka)
        ):
            raise InvalidRecordError(Reason.INVALID_FIELD, "amount_ngonka is not work_ngonka + reward_ngonka")
        if (settled := self.settled_at) is not None and (settled.tzinfo is None or not _EARLIEST <= settled < _LATEST):
            _check_time("settled_at", settled)
        if self.method is not None:
            force_setattr(self, "method", None if self.final else clean_text(self.method, TEXT_LENGTHS["method"]))
        if self.kind == "epoch" and self.final and self.settled_at is None:
            raise InvalidRecordError(Reason.INVALID_FIELD, "a final epoch report needs settled_at")

    @property
    def amount(self) -> int:
        """The amount in ngonka."""
        return int(self.amount_ngonka)

    @property
    def period_number(self) -> int:
        """The period as the ledger stores it: the epoch's number, or the UTC date as yyyymmdd."""
        return self.period if isinstance(self.period, int) else int(self.period.replace("-", ""))


class RefreshRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Please poll this source now or, where `epoch` is given, publish that epoch's settlement again."""

    source: Annotated[str, _CONCERNED]
    requested_at: Annotated[Time, fields.time("When it was asked for.")]
    requested_by: Annotated[str, fields.text("Who asks: a service's name, or a person's.")]
    epoch: Annotated[int | None, fields.integer(INT4_MAX, "The epoch to publish again.")] = None

    def __post_init__(self) -> None:
        """Check every field, or raise InvalidRecordError."""
        check_source(self.source)
        _check_time("requested_at", self.requested_at)
        _check_integer("epoch", self.epoch, INT4_MAX)


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a source does, and the preferences with which its readings are merged.

    `data_at` is the time of the newest data it gave. A source that answers 200 with old data has an old `data_at`.
    `newest_settled` is the newest epoch that it knows to have settled. Each attempt at an epoch is told at once:
    `published_epoch` is one whose reports Kafka has just acknowledged, all of them; `unpublished_epoch` is one that is
    not complete, and `unpublished_reason` why not. A source that only states what all hosts together were rewarded
    tells that instead: `total_ngonka`, its own total of `total_epoch` (work coins are no part of it).
    """

    source: Annotated[str, _CONCERNED]
    kind: Annotated[str, fields.free_text("kind", "The adapter that reads it.")]
    reported_at: Annotated[Time, fields.time("When this was said.")]
    preference_seconds: Annotated[int, fields.integer(INT4_MAX, "Its head start over other sources, seconds.")]
    earnings_order: Annotated[int, fields.integer(INT4_MAX, "Its rank for earnings: the lowest counts.")]
    probes_health: Annotated[bool, fields.boolean("Whether it probes the hosts' health.")]
    poll_interval_seconds: Annotated[int, fields.integer(INT4_MAX, "How often it is polled, seconds.")]
    last_attempt_at: Annotated[Time | None, fields.time("The last poll.")] = None
    last_success_at: Annotated[Time | None, fields.time("The last poll that gave something.")] = None
    last_error_at: Annotated[Time | None, fields.time("The last poll that failed.")] = None
    last_error: Annotated[str | None, fields.free_text("last_error", "Why it failed.")] = None
    data_at: Annotated[Time | None, fields.time("The time of the newest data that it gave.")] = None
    epoch: Annotated[int | None, fields.integer(INT4_MAX, "The running epoch.")] = None
    height: Annotated[int | None, fields.integer(INT8_MAX, "The newest block.")] = None
    newest_settled: Annotated[int | None, fields.integer(INT4_MAX, "The newest epoch that has settled.")] = None
    published_epoch: Annotated[
        int | None, fields.integer(INT4_MAX, "An epoch whose reports have all been published.")
    ] = None
    unpublished_epoch: Annotated[int | None, fields.integer(INT4_MAX, "An epoch that is not complete.")] = None
    unpublished_reason: Annotated[
        str | None, fields.free_text("unpublished_reason", "Why that epoch is not complete.")
    ] = None
    total_epoch: Annotated[
        int | None, fields.integer(INT4_MAX, "An epoch whose total the source itself states; with `total_ngonka`.")
    ] = None
    total_ngonka: Annotated[
        int | str | None, fields.positive_amount("What all hosts together were rewarded in it, as the source says.")
    ] = None

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
            _check_integer(field, getattr(self, field), INT4_MAX)
        if (self.total_epoch is None) != (self.total_ngonka is None):
            raise InvalidRecordError(Reason.INVALID_FIELD, "total_epoch and total_ngonka need each other")
        if self.total_ngonka is not None:
            force_setattr(self, "total_ngonka", _ngonka("total_ngonka", self.total_ngonka))
            if int(self.total_ngonka) < 1:
                raise InvalidRecordError(Reason.OUT_OF_RANGE, "total_ngonka: 0 means unknown, and is left out")
        _check_integer("height", self.height, INT8_MAX)
        force_setattr(self, "kind", clean_text(self.kind, TEXT_LENGTHS["kind"]) or "unknown")
        force_setattr(self, "last_error", clean_text(self.last_error, TEXT_LENGTHS["last_error"]))
        force_setattr(
            self, "unpublished_reason", clean_text(self.unpublished_reason, TEXT_LENGTHS["unpublished_reason"])
        )


Event = NodeReading | EarningsReport | RefreshRequest | SourceStatus
E = TypeVar("E", bound=Event)


def _check_identity(identifier: str, identifier_type: IdentifierType, source: str) -> None:
    _sources[source]
    known = _identifiers[identifier]
    if known is not None and known != identifier_type:
        _refuse_type(identifier, identifier_type)


def _refuse_type(identifier: str, identifier_type: IdentifierType) -> NoReturn:
    raise InvalidRecordError(
        Reason.IDENTIFIER_TYPE_MISMATCH, f"{identifier} is a {_identifiers[identifier]}, not a {identifier_type}"
    )


def _type_of_valid(identifier: str) -> IdentifierType | None:
    """`type_of` what can be an identifier; raises InvalidRecordError for anything else."""
    if not identifier or len(identifier) > IDENTIFIER_LENGTH or _CONTROL.search(identifier):
        raise InvalidRecordError(
            Reason.INVALID_FIELD, "identifier: 1 to 255 characters without spaces or control characters"
        )
    return type_of(identifier)


def check_source(source: str) -> None:
    """Raise InvalidRecordError unless this is a source's name."""
    if not _SOURCE.fullmatch(source):
        raise InvalidRecordError(
            Reason.INVALID_FIELD, "source: 1 to 50 of a-z, 0-9, '_', '.', '-', starting with a letter or digit"
        )


def _check_time(field: str, value: datetime) -> None:
    if value.tzinfo is None:
        raise InvalidRecordError(Reason.INVALID_FIELD, f"{field} has no time zone")
    if not _EARLIEST <= value < _LATEST:
        raise InvalidRecordError(Reason.OUT_OF_RANGE, f"{field} is not within the years 2000 to 9998")


def _check_integer(field: str, value: int | None, limit: int) -> None:
    if value is not None and not 0 <= value <= limit:
        raise InvalidRecordError(Reason.OUT_OF_RANGE, f"{field} is not within 0 and {limit}")


def _decimal(field: str, value: Decimal, unit: Decimal, limit: Decimal) -> Decimal:
    """The value as its column takes it: in whole units of the last digit, below the limit, not negative."""
    try:
        rounded = _ROUNDING.quantize(value, unit)
        if _ZERO <= rounded < limit:
            return rounded
    except InvalidOperation:  # NaN, an infinity, or far too many digits
        raise InvalidRecordError(Reason.OUT_OF_RANGE, f"{field} is not a finite number in range") from None
    raise InvalidRecordError(Reason.OUT_OF_RANGE, f"{field} is not within 0 and 10^{limit.adjusted()}")


def _cleaned(field: str) -> Memo[str, str | None]:
    return Memo(lambda text: clean_text(text, TEXT_LENGTHS[field]), _REMEMBERED)


# Most values come again: a node's name, its weight in the epoch, the few models and regions.
_REMEMBERED = 100_000
_identifiers = Memo(_type_of_valid, _REMEMBERED)
_sources = Memo(check_source, 1_000)
_active_models, _display_names, _gpu_types, _regions = map(
    _cleaned, ("active_model", "display_name", "gpu_type", "region")
)


def _is_amount(value: int | str) -> bool:
    """Whether the value is an amount in its one form already."""
    return isinstance(value, int) and -AMOUNT_LIMIT_NGONKA <= value <= AMOUNT_LIMIT_NGONKA


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
        _check_integer("period", period, INT4_MAX)
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
