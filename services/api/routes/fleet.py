"""The fleet at a glance, and the sources."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from services.api import views
from services.api.answers import Written, json_answer, tagged_answer, written
from services.api.changes import source_state
from services.api.context import Reader, UsedApi
from services.api.routes import NOT_MODIFIED
from services.api.schemas import (
    Count,
    FleetDay,
    FleetEstimate,
    NodeCounts,
    Settlement,
    Source,
    Sources,
    SourceState,
    Summary,
)
from services.api.store import earnings as earnings_store
from services.api.store import fleet as store
from services.kernel.database import Connection, Database

_FRESH: Final = timedelta(seconds=30)

router = APIRouter(tags=["fleet"])


@router.get("/summary", response_model=Summary, responses=NOT_MODIFIED)
async def summary(request: Request, api: UsedApi, _: Reader) -> Response:
    """All nodes together: how they are, what they earned, which epochs settled last, how the sources do."""
    return tagged_answer(request, await api.summary.get(), fresh_for=_FRESH, private=api.private)


async def read_summary(reads: Database, ttl: timedelta) -> Written:
    """Read it, from one snapshot of the tables."""
    async with reads.connection() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        return written(await _summary(connection, ttl))


async def _summary(connection: Connection, ttl: timedelta) -> Summary:
    counts = await store.node_counts(connection, ttl)
    groups: dict[str, list[Count]] = {"gpu_type": [], "region": [], "model": []}
    for row in await store.group_counts(connection):
        groups[row["dimension"]].append(Count(key=row["key"], nodes=row["nodes"]))
    sources = [_source(row, ttl) for row in await store.sources(connection)]
    estimate = await store.estimate(connection)
    return Summary(
        as_of=counts["as_of"],
        ttl_seconds=int(ttl.total_seconds()),
        nodes=NodeCounts(**{name: counts[name] for name in NodeCounts.model_fields}),
        gpu_types=groups["gpu_type"],
        regions=groups["region"],
        models=groups["model"],
        uptime_percent=counts["uptime_percent"],
        voting_weight=counts["voting_weight"],
        windows=[views.window(row) for row in await earnings_store.trends(connection, "fleet", "fleet", None)],
        daily=[
            FleetDay(date=day, gnk=gnk, average_7d_gnk=average, nodes=nodes)
            for day, gnk, average, nodes in await store.daily(connection)
        ],
        settlements=[
            Settlement(
                epoch=row["epoch"],
                settled_at=row["settled_at"],
                settled_exact=row["exact"],
                nodes=row["nodes"],
                gnk=row["earnings_gnk"],
            )
            for row in await store.settlements(connection)
        ],
        estimate=None
        if estimate is None
        else FleetEstimate(
            epoch=estimate["epoch"],
            nodes=estimate["nodes"],
            gnk=estimate["estimate_gnk"],
            methods=estimate["methods"] or [],
            observed_at=estimate["observed_at"],
        ),
        sources={state.value: number for state, number in Counter(each.state for each in sources).items()},
    )


@router.get("/sources", response_model=Sources, responses=NOT_MODIFIED)
async def sources(request: Request, api: UsedApi, _: Reader) -> Response:
    """The trackers: how they do, how old their data is, and how many nodes are shown from each."""
    async with api.reads.connection() as connection:
        rows = await store.sources(connection)
        as_of = await connection.fetchval("SELECT now()")
    items = [_source(row, api.ttl) for row in rows]
    api.refresher.want(each.name for each in items if each.state is SourceState.STALE)
    answer = Sources(as_of=as_of, ttl_seconds=int(api.ttl.total_seconds()), items=items)
    return json_answer(request, answer, fresh_for=_FRESH, private=api.private)


def _source(row: Any, ttl: timedelta) -> Source:
    now: datetime = row["as_of"]
    data_at: datetime | None = row["data_at"]
    return Source(
        name=row["name"],
        kind=row["kind"],
        state=source_state(row, now, ttl.total_seconds()),
        data_at=data_at,
        data_age_seconds=None if data_at is None else max(0, int((now - data_at).total_seconds())),
        last_attempt_at=row["last_attempt_at"],
        last_success_at=row["last_success_at"],
        last_error_at=row["last_error_at"],
        last_error=row["last_error"],
        poll_interval_seconds=row["poll_interval_seconds"],
        preference_seconds=row["preference_seconds"],
        earnings_order=row["earnings_order"],
        probes_health=row["probes_health"],
        epoch=row["epoch"],
        height=row["height"],
        nodes=row["nodes"],
    )
