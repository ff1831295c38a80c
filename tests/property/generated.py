"""Generated events: from pools so small that ties, repetitions and contradictions are common.

How sources are configured (preference_seconds, earnings_order) is for the machines to say.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Final, TypeVar

from hypothesis import strategies as st
from msgspec.structs import force_setattr, replace

from services.kernel.events import EarningsKind, EarningsReport, IdentifierType, NodeReading, SourceStatus
from tests.property.model import ORDER_OF_UNKNOWN

T = TypeVar("T")

NODES: Final[dict[str, IdentifierType]] = {"gonka1alice": "wallet", "host/bob": "node_id", "carol": "validator"}
FORMLESS: Final = "carol"
"""A node whose identifier has a form of its own keeps the type under which it was heard of first."""

SOURCES: Final = ("gonka-scan", "gonka_api", "operator")
HEAD_STARTS_SECONDS: Final = (0, 60, 240)
PLACES: Final = (0, 10, ORDER_OF_UNKNOWN)
"""Of sources in the order for earnings."""

START: Final = datetime(2026, 3, 1, 23, 52, tzinfo=UTC)  # midnight is near
_INDIA = timezone(timedelta(hours=5, minutes=30))
_TOO_LARGE = 10**38


def mostly(usual: st.SearchStrategy[T], rare: st.SearchStrategy[T], usual_times: int = 5) -> st.SearchStrategy[T]:
    """The rare one once in a while."""
    return st.sampled_from([usual] * usual_times + [rare]).flatmap(lambda strategy: strategy)


def sometimes(values: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    """Often nothing."""
    return st.none() | values


def of_one_node(events_of: Callable[[str], st.SearchStrategy[T]]) -> st.SearchStrategy[list[T]]:
    """Two or three events that concern the same node."""
    return _nodes.flatmap(lambda node: st.lists(events_of(node), min_size=2, max_size=3))


_times = st.builds(
    lambda minutes, microseconds, zone: (START + timedelta(minutes=minutes, microseconds=microseconds)).astimezone(
        zone
    ),
    st.sampled_from([0, 1, 2, 4, 5, 8, 9, 13]),
    st.sampled_from([0, 0, 0, 1]),
    st.sampled_from([UTC, UTC, _INDIA]),
)
_sources = st.sampled_from(SOURCES)
_nodes = st.sampled_from(list(NODES))


def readings_of(node: str) -> st.SearchStrategy[NodeReading]:
    """Readings of a node."""
    return st.builds(
        NodeReading,
        identifier=st.just(node),
        identifier_type=st.just(NODES[node]),
        source=_sources,
        observed_at=_times,
        status=mostly(st.sampled_from(["healthy", "unhealthy", "jailed", "offline"]), st.none(), 3),
        health_probed=st.sampled_from([True, True, False]),
        jobs_day=sometimes(st.integers(0, 3)),
        active_model=sometimes(st.just("qwen")),
        voting_weight=sometimes(st.sampled_from([Decimal(0), Decimal("1.5"), Decimal("0.123456785")])),
        tokens_per_sec=sometimes(st.sampled_from([Decimal(0), Decimal("12.345"), Decimal("1E+2")])),
        display_name=sometimes(st.sampled_from(["Alpha", "beta"])),
        gpu_type=sometimes(st.sampled_from(["H100", "H200", " "])),
        region=sometimes(st.just("eu")),
    )


def _refused_reading(node: str, source: str, at: datetime) -> NodeReading:
    """A reading that decoding would not let pass, and the database refuses. It says nothing but its status."""
    reading = NodeReading(identifier=node, identifier_type=NODES[node], source=source, observed_at=at, status="jailed")
    force_setattr(reading, "voting_weight", Decimal(_TOO_LARGE))
    return reading


some_readings: Final = st.lists(
    mostly(
        _nodes.flatmap(readings_of),
        st.builds(_refused_reading, _nodes.filter(lambda node: node != FORMLESS), _sources, _times),
    ),
    min_size=1,
    max_size=8,
)


def status_of(
    source: str, day: int, preference_seconds: int = 0, earnings_order: int = ORDER_OF_UNKNOWN
) -> SourceStatus:
    """A status that says nothing but how the source is configured, reported on a day counted from the start."""
    return SourceStatus(
        source=source,
        kind="tracker_api",
        reported_at=START + timedelta(days=day),
        preference_seconds=preference_seconds,
        earnings_order=earnings_order,
        probes_health=False,
        poll_interval_seconds=60,
    )


_totals = st.tuples(st.integers(1, 3), st.sampled_from([10**9, 10**9 + 1, 10**18]))


def _with_total(status: SourceStatus, total: tuple[int, int] | None) -> SourceStatus:
    """The status of a source that has just said what an epoch paid in all."""
    return status if total is None else replace(status, total_epoch=total[0], total_ngonka=total[1])


some_statuses: Final = st.lists(
    st.builds(
        SourceStatus,
        source=_sources,
        kind=st.just("tracker_api"),
        reported_at=_times,
        preference_seconds=st.just(0),
        earnings_order=st.just(ORDER_OF_UNKNOWN),
        probes_health=st.booleans(),
        poll_interval_seconds=st.just(60),
        data_at=sometimes(_times),
    ).flatmap(lambda status: st.builds(_with_total, st.just(status), sometimes(_totals))),
    min_size=1,
    max_size=3,
)

_kinds: st.SearchStrategy[EarningsKind] = st.sampled_from(["epoch", "epoch", "epoch", "day", "total"])
_amounts = st.integers(-30, 30) | st.sampled_from(
    [0, 4, 5, 15, -5, -15, 10**9 + 5, 123_456_789_012_345_678, 10**18, -(10**18)]
)
_epochs = st.integers(1, 3)
_dates = st.sampled_from(["2026-03-01", "2026-03-02", "2026-03-03"])
_settled = st.sampled_from(
    [
        datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 3, 2, 1, 30, tzinfo=_INDIA),  # the first of March in UTC
        datetime(2026, 3, 2, 0, 0, tzinfo=UTC),
        datetime(2026, 3, 2, 12, 0, tzinfo=UTC),
    ]
)


@st.composite
def reports_of(draw: st.DrawFn, node: str, epoch: int | None = None) -> EarningsReport:
    """Reports of a node's earnings; final ones of an epoch, where it is given."""
    kind = draw(_kinds) if epoch is None else "epoch"
    final = epoch is not None or draw(st.sampled_from([True, True, True, False] if kind == "epoch" else [True, False]))
    amount = draw(_amounts)
    split = draw(st.sampled_from(["none", "work", "both"]))
    work = draw(st.sampled_from([0, amount // 2]))
    return EarningsReport(
        identifier=node,
        identifier_type=NODES[node],
        source=draw(_sources),
        kind=kind,
        period=epoch or (draw(_epochs) if kind == "epoch" else draw(_dates)),
        amount_ngonka=str(amount) if draw(st.booleans()) else amount,
        work_ngonka=None if split == "none" else work,
        reward_ngonka=amount - work if split == "both" else None,
        settled_at=draw(_settled) if kind == "epoch" and (final or draw(st.booleans())) else None,
        settled_exact=draw(st.booleans()),
        final=final,
        claimed=draw(sometimes(st.booleans())),
        method=draw(sometimes(st.sampled_from(["by weight", "by work"]))),
        observed_at=draw(_times),
    )


_reports = _nodes.flatmap(reports_of)


@st.composite
def _contradiction(draw: st.DrawFn) -> list[EarningsReport]:
    first = draw(_reports.filter(lambda report: report.kind == "epoch" and report.final))
    other = draw(_sources.filter(lambda source: source != first.source))
    more = replace(first, source=other, amount_ngonka=first.amount // 2 - 1, work_ngonka=None, reward_ngonka=None)
    return [first, more]


def _refused(report: EarningsReport) -> EarningsReport:
    """The report with an amount that decoding would not let pass, and the database refuses."""
    force_setattr(report, "amount_ngonka", _TOO_LARGE)
    return report


some_reports: Final = st.lists(mostly(_reports, _reports.map(_refused)), min_size=1, max_size=8)
racing_reports: Final = st.one_of(
    of_one_node(reports_of),
    of_one_node(lambda node: _epochs.flatmap(lambda epoch: reports_of(node, epoch))),
    _epochs.flatmap(lambda epoch: st.tuples(*(reports_of(node, epoch) for node in NODES)).map(list)),
)
"""Two or three reports that concern one node, or one epoch, of whose settlement they may say different things."""

contradictions: Final = _contradiction()
"""Two sources say different things of one node and epoch."""


def is_refused(event: object) -> bool:
    """Whether the database refuses the event."""
    match event:
        case NodeReading():
            return event.voting_weight == _TOO_LARGE
        case EarningsReport():
            return event.amount == _TOO_LARGE
    return False
