"""What the API answers and takes: its JSON, and through it the OpenAPI document.

Money is a decimal string with all its places, a time is RFC 3339 in UTC, a date is a UTC date. An absent value is null:
it is not known, and never a zero.
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from services.kernel.events import IdentifierType, Status
from services.kernel.money import digits


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


TEXT = r"^[^\x00-\x1f\x7f]+$"
"""A pattern: no control characters."""

_AMOUNT_SCHEMA = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "examples": ["123.45678901"]}
Amount = Annotated[Decimal, PlainSerializer(digits, return_type=str), WithJsonSchema(_AMOUNT_SCHEMA)]
"""An exact decimal number, as a string."""

Time = Annotated[datetime, PlainSerializer(_utc, return_type=str)]


class Model(BaseModel):
    """Base of all: immutable, and described by its field's docstrings."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Answer(Model):
    """Base of whole answers."""

    as_of: Time
    """When this was read."""


# --- nodes ---


class DayEarnings(Model):
    """What a node earned on its newest UTC date with a settlement."""

    date: date
    gnk: Amount
    final: bool
    """False while the UTC date lasts: another epoch may settle on it."""


class Node(Model):
    """A node and the newest reading of it."""

    identifier: str
    identifier_type: IdentifierType
    display_name: str | None
    gpu_type: str | None
    region: str | None
    status: Status | None
    """As last reported; `age_seconds` says how long ago that was."""
    active_model: str | None
    voting_weight: Amount | None
    jobs_day: int | None
    """Inferences of the running epoch."""
    tokens_per_sec: float | None
    uptime_percent: float | None
    """Of the last 24 hours: healthy ÷ reachable five-minute slots."""
    earnings_day: DayEarnings | None
    earnings_total_gnk: Amount | None
    source: str | None
    """The tracker that the reading is from."""
    fetched_at: Time | None
    """When that tracker saw the node."""
    age_seconds: int | None
    stale: bool
    """Older than the time to live: a refresh has been asked for."""


class NodeMoment(Model):
    """What of a node's answer changes as time passes."""

    age_seconds: int | None
    stale: bool
    as_of: Time


class NodePage(Answer):
    """A page of nodes."""

    items: list[Node]
    total: int
    """How many nodes pass the filters."""
    next_cursor: str | None
    """Give it as `cursor` to go on; null at the end."""
    ttl_seconds: int


class DayAmount(Model):
    """A UTC date and its amount."""

    date: date
    gnk: Amount


Span = Literal["1d", "7d", "30d", "90d", "all"]


class Window(Model):
    """Earnings of the calendar days (UTC) that end with `until`, against the window of equal length before."""

    span: Span
    since: date
    """The first day that counts: the window's, or the first with any history."""
    until: date
    """The last UTC date that is over."""
    days: int
    """On how many of them something was settled."""
    gnk: Amount | None
    average_gnk: Amount | None
    """Per calendar day."""
    before_gnk: Amount | None
    change_gnk: Amount | None
    """Null where the window before is not wholly known."""
    change_percent: float | None
    best: DayAmount | None
    worst: DayAmount | None


class Estimate(Model):
    """What the running epoch may bring: provisional, never part of any other amount."""

    epoch: int
    source: str
    gnk: Amount
    method: str | None
    """How it was estimated."""
    observed_at: Time


class Uptime(Model):
    """Five-minute slots of a rolling window."""

    span: Literal["24h", "7d", "30d"]
    percent: float | None
    healthy_slots: int
    reachable_slots: int
    """Slots in which a source that probes health was reachable."""


class NodeDetail(Node):
    """A node with its windows."""

    first_seen: Time
    windows: list[Window]
    """Empty for a node without history."""
    uptime: list[Uptime]
    provisional: list[Estimate]
    ttl_seconds: int
    as_of: Time


# --- earnings ---


class PeriodEarnings(Model):
    """What was earned in a day, week (from Monday) or month."""

    starts: date
    gnk: Amount
    days: int
    """On how many dates something was settled."""
    final: bool
    """False while the period lasts."""
    source: str | None
    """Whose report it is; null for sums over several days or nodes."""


class EpochReport(Model):
    """What one source says of an epoch."""

    source: str
    ngonka: Amount
    final: bool
    counts: bool
    """It is the one that history is made of."""
    observed_at: Time
    versions: int
    """How many different versions this source gave, the first included."""


class EpochEarnings(Model):
    """What a node was paid for an epoch."""

    epoch: int
    date: date
    """The date of its settlement, in `time_zone`."""
    settled_at: Time
    settled_exact: bool
    """False: interpolated between blocks whose times are known."""
    gnk: Amount
    """Exact, with 9 places."""
    ngonka: Amount
    work_ngonka: Amount | None
    reward_ngonka: Amount | None
    claimed: bool | None
    source: str
    restated: bool
    """The source that counts gave another amount before."""
    reports: list[EpochReport]


class EarningsPage(Answer):
    """Earnings of one node, the newest first."""

    identifier: str
    time_zone: str
    """UTC: the days of `earnings_history`. Another one: epochs by their local date of settlement."""
    provisional: list[Estimate]
    next_cursor: str | None


class EarningsByPeriod(EarningsPage):
    """Earnings by day, week or month."""

    group: Literal["day", "week", "month"]
    items: list[PeriodEarnings]


class EarningsByEpoch(EarningsPage):
    """Earnings by epoch."""

    group: Literal["epoch"]
    items: list[EpochEarnings]


Dimension = Literal["fleet", "gpu_type", "region", "user"]


class FleetPeriod(Model):
    """What one key (a GPU type, a region, a user, the fleet) earned in a period."""

    key: str
    starts: date
    gnk: Amount
    days: int
    final: bool


class FleetEarnings(Answer):
    """Sums over many nodes, by key and the newest period first."""

    dimension: Dimension
    group: Literal["day", "week", "month"]
    since: date
    until: date
    items: list[FleetPeriod]


class Trend(Window):
    """A window of one key."""

    key: str


class Trends(Answer):
    """Windows of every key of a dimension."""

    dimension: Dimension
    items: list[Trend]


# --- timeline ---


class TimelineDay(Model):
    """A UTC date in 288 slots of five minutes."""

    date: date
    slots: str = Field(min_length=288, max_length=288, pattern="^[hua-]{288}$")
    """One letter a slot: h healthy, u seen but not healthy, a absent (not listed while a source was reachable),
    - unknown (no source reachable, or still to come)."""


class Timeline(Answer):
    """A node's health in five-minute slots, the oldest date first."""

    identifier: str
    slot_seconds: int
    since: date
    until: date
    days: list[TimelineDay]


# --- the fleet ---


class Count(Model):
    """How many nodes share a value; `unknown` where a node has none."""

    key: str
    nodes: int


class NodeCounts(Model):
    """Nodes by their last reported status."""

    total: int
    healthy: int
    unhealthy: int
    jailed: int
    offline: int
    unknown: int
    stale: int
    """Of all of them, those whose reading is older than the time to live."""


class FleetDay(Model):
    """A day of the fleet."""

    date: date
    gnk: Amount
    average_7d_gnk: Amount
    nodes: int


class Settlement(Model):
    """An epoch that has settled."""

    epoch: int
    settled_at: Time
    settled_exact: bool
    nodes: int
    """Nodes with a final report of it."""
    gnk: Amount | None


class FleetEstimate(Model):
    """What the running epoch may bring to all nodes that have an estimate."""

    epoch: int
    nodes: int
    gnk: Amount
    methods: list[str]
    observed_at: Time
    """The oldest of the estimates added up."""


class Summary(Answer):
    """The fleet at a glance."""

    ttl_seconds: int
    nodes: NodeCounts
    gpu_types: list[Count]
    regions: list[Count]
    models: list[Count]
    uptime_percent: float | None
    """The mean of all nodes' last 24 hours."""
    voting_weight: Amount | None
    windows: list[Window]
    daily: list[FleetDay]
    """The last 90 days, the oldest first."""
    settlements: list[Settlement]
    """The newest six, which may still be restated; the newest first."""
    estimate: FleetEstimate | None
    sources: dict[str, int]
    """How many sources are in which state."""


class SourceState(StrEnum):
    """How a source does."""

    OK = "ok"
    STALE = "stale"
    """It answers, with data older than the time to live."""
    FAILING = "failing"
    """Its last attempt failed."""
    SILENT = "silent"
    """Nobody has polled it for three intervals."""
    UNKNOWN = "unknown"
    """It has not been polled yet."""


class Source(Model):
    """A tracker, and how it does."""

    name: str
    kind: str | None
    state: SourceState
    data_at: Time | None
    """The time of the newest data it gave."""
    data_age_seconds: int | None
    last_attempt_at: Time | None
    last_success_at: Time | None
    last_error_at: Time | None
    last_error: str | None
    poll_interval_seconds: int | None
    preference_seconds: int
    earnings_order: int
    probes_health: bool
    epoch: int | None
    height: int | None
    nodes: int
    """Nodes whose newest reading is from it."""


class Sources(Answer):
    """All sources."""

    ttl_seconds: int
    items: list[Source]


# --- users, keys ---


class Profile(Model):
    """A user of the portal."""

    id: UUID
    name: str | None
    telegram: str | None
    discord: str | None
    currency_preference: str | None


class ProfileChange(Model):
    """What is to be changed; a field that is left out stays, null clears it."""

    model_config = ConfigDict(extra="forbid")

    telegram: str | None = Field(None, min_length=1, max_length=100, pattern=TEXT)
    discord: str | None = Field(None, min_length=1, max_length=100, pattern=TEXT)
    currency_preference: str | None = Field(None, pattern="^[A-Z]{2,10}$")


class Assignment(Model):
    """A node of a user."""

    identifier: str
    display_name: str | None
    assigned_at: Time
    assigned_by: UUID | None


class Assignments(Answer):
    """A user's nodes; a node may belong to several users."""

    user_id: UUID
    items: list[Assignment]


class AssignmentRequest(Model):
    """Who assigns."""

    model_config = ConfigDict(extra="forbid")

    assigned_by: UUID | None = None
    """A user; without it the user that the key belongs to."""


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"
    """Nodes, earnings, sources, live changes."""
    USERS = "users"
    """Profiles and assignments of every user, too."""
    ADMIN = "admin"
    """Everything, changes included."""


class Key(Model):
    """An API key, without its secret."""

    id: UUID
    name: str
    scopes: list[Scope]
    user_id: UUID | None
    """The user whose profile and nodes it may read besides."""
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None


class Keys(Answer):
    """All keys."""

    items: list[Key]


class KeyRequest(Model):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100, pattern=TEXT)
    scopes: list[Scope] = Field(min_length=1, max_length=3)
    user_id: UUID | None = None
    expires_at: AwareDatetime | None = None


class NewKey(Key):
    """A key with its secret, which is told this once."""

    secret: str


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    """The last word of `type`."""
    parameter: str | None = None
    """The parameter or field that is wrong."""
