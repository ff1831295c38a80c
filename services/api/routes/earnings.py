"""What nodes earned: by day, week, month or epoch; and what many nodes earned together."""

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from services.api import paging, views
from services.api.access import Principal, forbidden
from services.api.answers import csv_answer, json_answer, wants_csv
from services.api.context import Api, Reader, UsedApi
from services.api.parameters import Csv, Cursor, Identifier, Since, Until, days_between
from services.api.problems import invalid
from services.api.routes import NOT_MODIFIED, csv_too
from services.api.routes.nodes import identifier_of, node_id_of
from services.api.schemas import (
    TEXT,
    Dimension,
    EarningsByEpoch,
    EarningsByPeriod,
    FleetEarnings,
    Scope,
    Span,
    Trends,
)
from services.api.store import earnings as store
from services.kernel.columns import Column, Kind
from services.kernel.database import Connection

_FRESH: Final = timedelta(seconds=60)
_MOST_DAYS: Final = 36_600
_DEFAULT_DAYS: Final = 90

_PERIOD_COLUMNS: Final = (
    Column("node", Kind.FREE_TEXT),
    Column("starts", Kind.DATE),
    Column("amount_gnk", Kind.GNK_8),
    Column("days", Kind.TEXT),
    Column("source", Kind.TEXT),
    Column("final", Kind.YES_NO),
    Column("time_zone", Kind.TEXT),
)
_EPOCH_COLUMNS: Final = (
    Column("node", Kind.FREE_TEXT),
    Column("epoch", Kind.TEXT),
    Column("date", Kind.DATE),
    Column("settled_at", Kind.TIME),
    Column("settled_exact", Kind.YES_NO),
    Column("amount_gnk", Kind.GNK_9),
    Column("amount_ngonka", Kind.NGONKA),
    Column("work_ngonka", Kind.NGONKA),
    Column("reward_ngonka", Kind.NGONKA),
    Column("claimed", Kind.YES_NO),
    Column("source", Kind.TEXT),
    Column("restated", Kind.YES_NO),
)
_SUM_COLUMNS: Final = (
    Column("key", Kind.FREE_TEXT),
    Column("starts", Kind.DATE),
    Column("amount_gnk", Kind.GNK_8),
    Column("days", Kind.TEXT),
    Column("final", Kind.YES_NO),
)

Group = Literal["day", "week", "month"]
TimeZone = Annotated[
    str,
    Query(
        alias="tz",
        min_length=1,
        max_length=64,
        pattern="^[A-Za-z][A-Za-z0-9_+/-]*$",
        description=(
            "Whose days are meant, like Europe/Berlin. History has UTC days; in another time zone epochs are grouped "
            "by their local date of settlement, which only works for nodes whose earnings are known by epoch."
        ),
    ),
]

router = APIRouter(tags=["earnings"])


@router.get(
    "/nodes/{identifier}/earnings",
    response_model=EarningsByPeriod | EarningsByEpoch,
    responses=csv_too("A page of earnings, the newest first"),
)
async def node_earnings(
    request: Request,
    api: UsedApi,
    _: Reader,
    identifier: Identifier,
    group: Group | Literal["epoch"] = "day",
    since: Since = None,
    until: Until = None,
    time_zone: TimeZone = "UTC",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Cursor = None,
    csv: Csv = None,
) -> Response:
    """What a node earned, of the last 90 days by default; as CSV all of the dates at once.

    `items` are settled and part of history. What the running epoch may bring is in `provisional`, and in no sum.
    """
    dates = days_between(since, until, default=_DEFAULT_DAYS, most=_MOST_DAYS)
    before = None if cursor is None else _before(cursor, group)
    name = identifier_of(identifier)
    async with api.reads.connection() as connection:
        node_id = await node_id_of(connection, name)
        if time_zone != "UTC":
            await _check_time_zone(api, connection, node_id, time_zone, group)
        if wants_csv(request, csv):
            columns, lines = await _file(connection, name, node_id, group, dates, time_zone)
            return await csv_answer(f"earnings-{name}", columns, _once(lines))
        as_of: datetime = await connection.fetchval("SELECT now()")
        common: dict[str, Any] = {
            "as_of": as_of,
            "identifier": name,
            "time_zone": time_zone,
            "provisional": [views.estimate(row) for row in await store.estimates(connection, node_id)],
        }
        answer: EarningsByEpoch | EarningsByPeriod
        if group == "epoch":
            rows = await store.epochs(connection, node_id, dates, before=before, limit=limit + 1, time_zone=time_zone)
            page, more = rows[:limit], len(rows) > limit
            said = await store.reports(connection, node_id, [row["epoch"] for row in page])
            answer = EarningsByEpoch(
                **common,
                group=group,
                items=[views.epoch(row, said[row["epoch"]]) for row in page],
                next_cursor=_cursor(group, page[-1]["epoch"]) if more else None,
            )
        else:
            rows = await store.periods(
                connection, node_id, group, dates, before=before, limit=limit + 1, time_zone=time_zone
            )
            page, more = rows[:limit], len(rows) > limit
            today = await store.today(connection, time_zone)
            answer = EarningsByPeriod(
                **common,
                group=group,
                items=[views.period(row, group, today) for row in page],
                next_cursor=_cursor(group, page[-1]["starts"]) if more else None,
            )
    return json_answer(request, answer, fresh_for=_FRESH, private=api.private)


async def _check_time_zone(api: Api, connection: Connection, node_id: UUID, time_zone: str, group: str) -> None:
    if time_zone not in await api.time_zones.get():
        raise invalid("tz", f"There is no time zone {time_zone!r}: give a name like Europe/Berlin.")
    basis = await store.basis(connection, node_id)
    if group != "epoch" and basis not in (None, "epoch"):
        raise invalid("tz", "This node's sources count UTC days: leave tz out.")


def _cursor(group: str, value: date | int) -> str:
    return paging.write(paging.Cursor(group, str(value), ""))


def _before(cursor: str, group: str) -> Any:
    return paging.value_of(paging.read(cursor, group), int if group == "epoch" else date)


async def _file(
    connection: Connection, name: str, node_id: Any, group: str, dates: tuple[date, date], time_zone: str
) -> tuple[tuple[Column, ...], list[Iterable[Any]]]:
    """All rows of the dates: a node has one a day at most, which is no reason for a cursor."""
    if group == "epoch":
        epochs = await store.epochs(connection, node_id, dates, before=None, limit=_MOST_DAYS, time_zone=time_zone)
        return _EPOCH_COLUMNS, [
            (
                name,
                str(row["epoch"]),
                row["date"],
                row["settled_at"],
                row["exact"],
                row["amount_gnk"],
                row["amount_ngonka"],
                row["work_ngonka"],
                row["reward_ngonka"],
                row["claimed"],
                row["source"],
                row["restated"],
            )
            for row in epochs
        ]
    today = await store.today(connection, time_zone)
    rows = await store.periods(connection, node_id, group, dates, before=None, limit=_MOST_DAYS, time_zone=time_zone)
    periods = (views.period(row, group, today) for row in rows)
    return _PERIOD_COLUMNS, [
        (name, each.starts, each.gnk, str(each.days), each.source, each.final, time_zone) for each in periods
    ]


async def _once(rows: list[Iterable[Any]]) -> AsyncIterator[list[Iterable[Any]]]:
    yield rows


@router.get("/earnings", response_model=FleetEarnings, responses=csv_too("Sums, the newest period first"))
async def fleet_earnings(
    request: Request,
    api: UsedApi,
    caller: Reader,
    dimension: Dimension = "fleet",
    key: Annotated[str | None, Query(min_length=1, max_length=100, pattern=TEXT)] = None,
    group: Group = "day",
    since: Since = None,
    until: Until = None,
    csv: Csv = None,
) -> Response:
    """What the fleet, or each GPU type, region or user, earned by UTC day, week or month: 90 days by default."""
    key = _own_key(caller, dimension, key)
    first, last = days_between(since, until, default=_DEFAULT_DAYS, most=1_100)
    today = datetime.now(UTC).date()

    async def chunks() -> AsyncIterator[list[Any]]:
        async with api.reads.transaction() as connection:
            async for rows in store.sums(connection, dimension, group, first, last, key):
                yield [views.fleet_period(row, group, today) for row in rows]

    async def csv_rows() -> AsyncIterator[list[Iterable[Any]]]:
        async for rows in chunks():
            yield [(each.key, each.starts, each.gnk, str(each.days), each.final) for each in rows]

    if wants_csv(request, csv):
        return await csv_answer(f"earnings-{dimension}", _SUM_COLUMNS, csv_rows())
    answer = FleetEarnings(
        as_of=datetime.now(UTC),
        dimension=dimension,
        group=group,
        since=first,
        until=last,
        items=[each async for rows in chunks() for each in rows],
    )
    return json_answer(request, answer, fresh_for=_FRESH, private=api.private)


@router.get("/trends", response_model=Trends, responses=NOT_MODIFIED)
async def trends(
    request: Request,
    api: UsedApi,
    caller: Reader,
    dimension: Dimension = "fleet",
    key: Annotated[str | None, Query(min_length=1, max_length=100, pattern=TEXT)] = None,
    span: Span | None = None,
) -> Response:
    """Windows of 1, 7, 30 and 90 days and of all time, against the windows before, of each key of a dimension."""
    key = _own_key(caller, dimension, key)
    async with api.reads.connection() as connection:
        rows = await store.trends(connection, dimension, key, span)
    answer = Trends(as_of=datetime.now(UTC), dimension=dimension, items=[views.trend(row) for row in rows])
    return json_answer(request, answer, fresh_for=_FRESH, private=api.private)


def _own_key(caller: Principal, dimension: str, key: str | None) -> str | None:
    """The key that may be asked for: whoever may not see all users sees their own."""
    if dimension != "user" or caller.may(Scope.USERS):
        return key
    own = None if caller.user_id is None else str(caller.user_id)
    if own is None or key not in (None, own):
        raise forbidden(Scope.USERS)
    return own
