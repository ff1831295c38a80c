"""Nodes: pages of them, one of them, its health by five minutes."""

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, date, datetime, timedelta
from time import monotonic
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from asyncpg import Record
from fastapi import APIRouter, Query, Request, Response

from services.api import paging, views
from services.api.access import forbidden
from services.api.answers import Written, csv_answer, digest, json_answer, tagged_answer, wants_csv
from services.api.context import Api, Reader, UsedApi
from services.api.middleware import SLASH
from services.api.parameters import Csv, Cursor, Identifier, Since, Until, Wait, Words, days_between, seconds
from services.api.problems import not_found
from services.api.routes import NOT_MODIFIED, csv_too
from services.api.schemas import Node, NodeDetail, NodeMoment, NodePage, Scope, Timeline
from services.api.store import earnings as earnings_store
from services.api.store import nodes as store
from services.kernel.columns import Column, Kind
from services.kernel.database import Connection
from services.kernel.events import Status

SLOT_SECONDS: Final = 300
_TIMELINE_DAYS: Final = 90

_ORDERS = [f"{sign}{name}" for name in store.SORTS for sign in ("", "-")]
Sort = Annotated[
    str,
    Query(
        description="What to sort by; with - descending. Nodes without a value come last.",
        json_schema_extra={"enum": _ORDERS},
        pattern=f"^-?({'|'.join(store.SORTS)})$",
    ),
]

_CSV_COLUMNS: Final = (
    Column("node", Kind.FREE_TEXT),
    Column("identifier_type", Kind.TEXT),
    Column("display_name", Kind.FREE_TEXT),
    Column("gpu_type", Kind.FREE_TEXT),
    Column("region", Kind.FREE_TEXT),
    Column("status", Kind.TEXT),
    Column("active_model", Kind.FREE_TEXT),
    Column("voting_weight", Kind.GNK_8),
    Column("jobs_day", Kind.TEXT),
    Column("tokens_per_sec", Kind.GNK_8),
    Column("uptime_percent", Kind.GNK_8),
    Column("earnings_day_gnk", Kind.GNK_8),
    Column("earnings_day_date", Kind.DATE),
    Column("earnings_total_gnk", Kind.GNK_8),
    Column("source", Kind.TEXT),
    Column("fetched_at", Kind.TIME),
    Column("stale", Kind.YES_NO),
)

router = APIRouter(tags=["nodes"])


def identifier_of(path: str) -> str:
    """The identifier as it stands in the tables."""
    return path.replace(SLASH, "/")


@router.get("/nodes", response_model=NodePage, responses=csv_too("A page of nodes"))
async def list_nodes(
    request: Request,
    api: UsedApi,
    caller: Reader,
    q: Annotated[
        str | None,
        Query(min_length=1, max_length=100, pattern=r"^[^\x00]+$", description="In identifier, name or model."),
    ] = None,
    status: Annotated[list[Status | Literal["unknown"]] | None, Query(max_length=5)] = None,
    gpu_type: Words = None,
    region: Words = None,
    source: Words = None,
    user: Annotated[UUID | None, Query(description="Nodes of this user.")] = None,
    stale: bool | None = None,
    sort: Sort = "-earnings_total",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Cursor = None,
    csv: Csv = None,
) -> Response:
    """Nodes with their newest readings, a page at a time; as CSV all of them at once.

    Filters that are repeated take any of their values; `unknown` stands for nodes without a value.
    """
    if user is not None and not caller.may_see(user):
        raise forbidden(Scope.USERS)
    wanted = store.Filter(q, status, gpu_type, region, source, user, stale)
    name, descending = sort.removeprefix("-"), sort.startswith("-")
    if wants_csv(request, csv):
        return await csv_answer("nodes", _CSV_COLUMNS, _csv_rows(api, wanted, name, descending=descending))
    after = None
    if cursor is not None:
        place = paging.read(cursor, sort)
        after = paging.value_of(place, store.SORTS[name].kind), place.name
    async with api.reads.connection() as connection:
        at = store.Page(name, descending, after, limit + 1)
        rows, total = await store.page(connection, wanted, api.ttl, at)
        as_of = rows[0]["as_of"] if rows else await connection.fetchval("SELECT now()")
    page, more = rows[:limit], len(rows) > limit
    items = [views.node(row, api.ttl) for row in page]
    _refresh(api, items)
    answer = NodePage(
        as_of=as_of,
        items=items,
        total=total,
        next_cursor=_cursor_after(page[-1], sort) if more else None,
        ttl_seconds=int(api.ttl.total_seconds()),
    )
    return json_answer(request, answer, fresh_for=api.ttl, private=api.private)


def _cursor_after(row: Any, sort: str) -> str:
    value = row["sorted"]
    return paging.write(paging.Cursor(sort, None if value is None else str(value), row["identifier"]))


async def _csv_rows(
    api: Api, wanted: store.Filter, sort: str, *, descending: bool
) -> AsyncIterator[Iterable[Iterable[Any]]]:
    async with api.reads.transaction() as connection:
        async for rows in store.every(connection, wanted, api.ttl, sort, descending=descending):
            yield [_csv_row(views.node(row, api.ttl), row) for row in rows]


def _csv_row(node: Node, row: Any) -> Iterable[Any]:
    return (
        node.identifier,
        node.identifier_type,
        node.display_name,
        node.gpu_type,
        node.region,
        node.status,
        node.active_model,
        node.voting_weight,
        None if node.jobs_day is None else str(node.jobs_day),
        row["tokens_per_sec"],
        row["uptime_percent"],
        node.earnings_day and node.earnings_day.gnk,
        node.earnings_day and node.earnings_day.date,
        node.earnings_total_gnk,
        node.source,
        node.fetched_at,
        node.stale,
    )


@router.get("/nodes/{identifier}", response_model=NodeDetail, responses=NOT_MODIFIED)
async def show_node(request: Request, api: UsedApi, _: Reader, identifier: Identifier, wait: Wait = None) -> Response:
    """A node: its newest reading, earnings by window, uptime, and what the running epoch may bring.

    A stale reading is answered at once, and its source asked for a new one; with `wait` the answer waits for that.
    """
    name = identifier_of(identifier)
    standing, detail = await _detail(api, name)
    if _stale(standing, api.ttl):
        if standing.source is not None:
            api.refresher.want((standing.source,))
        if wait is not None and await _refreshed(api, name, standing.fetched_at, seconds(wait)):
            standing, detail = await _detail(api, name)
    return _aged(request, api, standing, detail)


async def _detail(api: Api, identifier: str) -> tuple[store.Standing, Written]:
    """How the node stands, and its answer: made anew when its rows have changed, or after a minute.

    The feed has looked at all rows a moment ago; where it has not, the database is asked.
    """
    if (standing := _at_last_look(api, identifier)) is not None:
        known = api.details.get(identifier, _version(standing))
        if known is not None:
            return standing, known
    async with api.reads.connection() as connection:
        standing = await store.standing(connection, identifier)
        if standing is None:
            raise not_found(f"The node {identifier!r}")
        version = _version(standing)
        known = api.details.get(identifier, version)
        if known is not None:
            return standing, known
        shown = await store.node(connection, identifier)
        if shown is None:
            raise not_found(f"The node {identifier!r}")
        answer = views.node_detail(
            shown,
            api.ttl,
            windows=await _windows(api, connection, shown, version[1]),
            uptime=await store.uptime(connection, shown["id"]),
            estimates=await earnings_store.estimates(connection, shown["id"]),
        )
    body = answer.model_dump_json(exclude={"age_seconds", "stale", "as_of"}).encode()
    detail = Written(body, digest(body))
    if shown["fetched_at"] == standing.fetched_at:  # else it was written in between
        api.details.put(identifier, version, detail)
    return standing, detail


async def _windows(api: Api, connection: Connection, shown: Record, today: date) -> list[Record]:
    """The node's windows: what takes longest, and changes with its earnings only, not with each reading."""
    version = today, shown["earnings_date"], shown["earnings_day"], shown["earnings_total"]
    windows = api.windows.get(shown["identifier"], version)
    if windows is None:
        windows = await earnings_store.windows(connection, shown["id"], today)
        api.windows.put(shown["identifier"], version, windows)
    return windows


def _at_last_look(api: Api, identifier: str) -> store.Standing | None:
    now = api.feed.now()
    row = None if now is None else api.feed.row(identifier)
    return None if now is None or row is None else store.Standing(row.version, row.fetched_at, row.source, now)


def _version(standing: store.Standing) -> tuple[str, date]:
    """Windows of days move with the UTC date."""
    return standing.version, standing.as_of.astimezone(UTC).date()


def _aged(request: Request, api: Api, standing: store.Standing, detail: Written) -> Response:
    """The node's answer as it is at this moment."""
    stale, age = _stale(standing, api.ttl), _age(standing)
    moment = NodeMoment(
        age_seconds=None if age is None else int(age.total_seconds()), stale=stale, as_of=standing.as_of
    )
    body = moment.model_dump_json().encode()[:-1] + b"," + detail.json[1:]
    fresh_for = timedelta() if stale or age is None else api.ttl - age
    answer = Written(body, f"{detail.tag}{'s' if stale else ''}")
    return tagged_answer(request, answer, fresh_for=fresh_for, private=api.private)


def _age(standing: store.Standing) -> timedelta | None:
    return None if standing.fetched_at is None else max(timedelta(), standing.as_of - standing.fetched_at)


def _stale(standing: store.Standing, ttl: timedelta) -> bool:
    age = _age(standing)
    return age is None or age > ttl


def _refresh(api: Api, nodes: Iterable[Node]) -> None:
    """Ask for new readings of those that are stale; one that was never read, of nobody in particular."""
    api.refresher.want({node.source for node in nodes if node.stale and node.source is not None})


async def _refreshed(api: Api, identifier: str, fetched_at: datetime | None, limit: float) -> bool:
    """Wait for a newer reading of the node, so many seconds at most."""
    deadline = monotonic() + limit
    while not api.feed.ended.is_set():
        row = api.feed.row(identifier)
        if row is not None and row.fetched_at is not None and (fetched_at is None or row.fetched_at > fetched_at):
            return True
        if (left := deadline - monotonic()) <= 0:
            return False
        await api.feed.news(left)
    return False


@router.get("/nodes/{identifier}/timeline", response_model=Timeline, responses=NOT_MODIFIED)
async def show_timeline(
    request: Request, api: UsedApi, _: Reader, identifier: Identifier, since: Since = None, until: Until = None
) -> Response:
    """A node's health in five-minute slots of UTC days: the last seven days by default, 90 at most."""
    first, last = days_between(since, until, default=7, most=_TIMELINE_DAYS)
    name = identifier_of(identifier)
    async with api.reads.connection() as connection:
        node_id = await node_id_of(connection, name)
        rows = await store.timeline(connection, node_id, first, last)
        as_of = await connection.fetchval("SELECT now()")
    answer = Timeline(
        as_of=as_of,
        identifier=name,
        slot_seconds=SLOT_SECONDS,
        since=first,
        until=last,
        days=[views.timeline_day(row) for row in rows],
    )
    return json_answer(request, answer, fresh_for=timedelta(seconds=SLOT_SECONDS), private=api.private)


async def node_id_of(connection: Connection, identifier: str) -> UUID:
    """The node's id. Raises ProblemError (404)."""
    node_id = await store.find(connection, identifier)
    if node_id is None:
        raise not_found(f"The node {identifier!r}")
    return node_id
