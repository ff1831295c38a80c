"""What became of each record: applied, stale, a duplicate or a dead letter. Each is counted once."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from services.cache.store import apply_readings, apply_source_status
from services.earnings.store import apply_reports
from services.kernel.database import Database, connect_arguments
from services.kernel.events import EarningsReport, NodeReading, SourceStatus
from services.kernel.halving import Applied
from services.kernel.settings import KafkaSettings
from services.kernel.wire import OutgoingRecord, encode
from tests.integration.pipeline import Pipeline, until
from tests.integration.streams import Stream, new_stream, running

pytestmark = pytest.mark.integration

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
IN_INDIA = (START + timedelta(seconds=1)).astimezone(timezone(timedelta(hours=5, minutes=30)))
APPLIED, STALE, DUPLICATE = Applied(1, 0, 0), Applied(0, 1, 0), Applied(0, 0, 1)


def reading(at: int, source: str = "hyperfusion", node: str = "alice", **changes: Any) -> NodeReading:
    return NodeReading(
        identifier=f"gonka1{node}",
        identifier_type="wallet",
        source=source,
        observed_at=START + timedelta(seconds=at),
        **{"status": "healthy", **changes},
    )


def said(at: int, value: str = "H100", source: str = "hyperfusion", **changes: Any) -> NodeReading:
    """A reading without a status: it carries a fact."""
    return reading(at, source, **{"status": None, "gpu_type": value, **changes})


def status(at: int, source: str = "gonka_api", **changes: Any) -> SourceStatus:
    fields: dict[str, Any] = {
        "source": source,
        "kind": source,
        "reported_at": START + timedelta(seconds=at),
        "preference_seconds": 0,
        "earnings_order": 0,
        "probes_health": True,
        "poll_interval_seconds": 60,
    }
    return SourceStatus(**fields | changes)


def report(amount: int, at: int = 0, **changes: Any) -> EarningsReport:
    fields: dict[str, Any] = {
        "identifier": "gonka1alice",
        "identifier_type": "wallet",
        "source": "gonka_api",
        "kind": "epoch",
        "period": 7,
        "amount_ngonka": amount,
        "observed_at": START + timedelta(hours=1, seconds=at),
        "settled_at": START,
        "final": True,
    }
    return EarningsReport(**fields | changes)


@pytest.mark.parametrize(
    ("batches", "outcomes"),
    [
        pytest.param([[reading(1)], [reading(1)]], [APPLIED, DUPLICATE], id="the row's own reading again"),
        pytest.param(
            [[reading(1)], [said(1, status="jailed", gpu_type=None)]],
            [APPLIED, DUPLICATE],
            id="another content under the row's identity",
        ),
        pytest.param(
            [[reading(1)], [reading(1), replace(reading(1), observed_at=IN_INDIA)]],
            [APPLIED, Applied(0, 0, 2)],
            id="told in another time zone",
        ),
        pytest.param([[reading(2)], [reading(1)], [reading(1)]], [APPLIED, STALE, STALE], id="older"),
        pytest.param([[reading(1)], [reading(2)], [reading(1)]], [APPLIED, APPLIED, STALE], id="once the row"),
        pytest.param([[reading(900)], [reading(300, "preferred")]], [APPLIED, STALE], id="outranked though preferred"),
        pytest.param(
            [[reading(900)], [reading(400, "preferred")], [reading(901)]],
            [APPLIED, APPLIED, STALE],
            id="outranked though newer",
        ),
        pytest.param(
            [[reading(1), reading(1), reading(2), reading(2), reading(0), reading(0)]], [Applied(1, 2, 3)], id="a batch"
        ),
        pytest.param(
            [[reading(1)], [reading(1), reading(900, "tracker")], [reading(1), reading(900, "tracker")]],
            [APPLIED, Applied(1, 0, 1), Applied(0, 1, 1)],
            id="the row's own reading beside a better one",
        ),
        pytest.param(
            [[said(1)], [said(1)], [said(0)], [said(2)], [said(2), said(1, "A100")]],
            [APPLIED, DUPLICATE, STALE, APPLIED, Applied(0, 1, 1)],
            id="facts",
        ),
        pytest.param(
            [[said(1, source="operator")], [said(9)], [said(1, source="operator")]],
            [APPLIED, STALE, DUPLICATE],
            id="facts that an operator outranks",
        ),
        pytest.param(
            [[reading(9, "tracker")], [reading(1, gpu_type="H100")], [reading(1, gpu_type="H100")]],
            [APPLIED, APPLIED, DUPLICATE],
            id="not the row, but a fact",
        ),
        pytest.param(
            [[reading(1, gpu_type="H100", region="eu", tokens_per_sec=Decimal(3))], [reading(2, region="eu")]],
            [APPLIED, APPLIED],
            id="several facts of one reading",
        ),
        pytest.param(
            [[reading(at, node=node) for at in (1, 2) for node in "ab"]] * 2,
            [Applied(2, 2), Applied(0, 2, 2)],
            id="a batch of several nodes",
        ),
        pytest.param(
            [[reading(9, "tracker")], [reading(1, health_probed=True)]], [APPLIED, STALE], id="only a slot of uptime"
        ),
    ],
)
async def test_a_reading_is_applied_stale_or_a_duplicate(
    batches: Sequence[Sequence[NodeReading]], outcomes: Sequence[Applied], cache: Database
) -> None:
    await apply_source_status(cache, [status(0, "preferred", preference_seconds=550)])
    assert [await apply_readings(cache, batch) for batch in batches] == outcomes


async def test_a_source_status_is_applied_stale_or_a_duplicate(cache: Database) -> None:
    batches = [[status(1)], [status(1)], [status(0)], [status(2), status(2), status(1), status(1, "hyperfusion")]]
    assert [await apply_source_status(cache, batch) for batch in batches] == [
        APPLIED,
        DUPLICATE,
        STALE,
        Applied(2, 1, 1),
    ]


@pytest.mark.parametrize(
    ("batches", "outcomes"),
    [
        pytest.param([[report(5)], [report(5)]], [APPLIED, DUPLICATE], id="the row's own report again"),
        pytest.param([[report(5)], [report(5, at=1)]], [APPLIED, APPLIED], id="said again later"),
        pytest.param([[report(5, at=1)], [report(4)], [report(4)]], [APPLIED, STALE, STALE], id="an older version"),
        pytest.param([[report(5)], [report(4)]], [APPLIED, STALE], id="another version of the same time"),
        pytest.param(
            [[report(5)], [report(5, work_ngonka=2)], [report(5, work_ngonka=2)], [report(5)]],
            [APPLIED, APPLIED, DUPLICATE, STALE],
            id="with its split",
        ),
        pytest.param(
            [[report(5)], [report(9, at=1, final=False, settled_at=None)]],
            [APPLIED, STALE],
            id="an estimate afterwards",
        ),
        pytest.param(
            [[report(0, final=False, settled_at=None, method=method)] for method in ("b", "b", "a")],
            [APPLIED, DUPLICATE, STALE],
            id="estimates by several methods",
        ),
        pytest.param(
            [[report(5), report(5), report(6, at=1), report(6, at=1), report(5), report(1, period=8)]],
            [Applied(2, 1, 3)],
            id="a batch",
        ),
        pytest.param(
            [[report(5, at=1)], [report(5, settled_at=START + timedelta(days=1), settled_exact=True)]],
            [APPLIED, STALE],
            id="only a better settlement",
        ),
    ],
)
async def test_a_report_is_applied_stale_or_a_duplicate(
    batches: Sequence[Sequence[EarningsReport]], outcomes: Sequence[Applied], earnings: Database
) -> None:
    assert [await apply_reports(earnings, batch) for batch in batches] == outcomes


@pytest.fixture
async def stream(kafka: KafkaSettings) -> AsyncIterator[Stream]:
    async with new_stream(kafka) as stream:
        yield stream


async def test_the_outcomes_add_up_to_the_handled_records(stream: Stream, pipeline: Pipeline, cache: Database) -> None:
    """Also with a record that is in a batch's events and its dead letters, because the database refuses it."""
    admin = await asyncpg.connect(**connect_arguments(pipeline.database))
    await admin.execute("ALTER TABLE node_stats_cache ADD CONSTRAINT refused CHECK (jobs_day <> 666)")
    try:
        events = [reading(2), reading(1), reading(2), reading(3, node="bob", jobs_day=666), reading(1, node="carol")]
        records = [encode(event)._replace(topic=stream.topic) for event in events]
        records.insert(2, OutgoingRecord(stream.topic, b"k", b"no JSON", []))
        await stream.publisher.send(records, partition=0)
        consumer = stream.consumer(partial(apply_readings, cache))
        async with running(consumer):

            async def committed() -> bool:
                return await stream.committed() == len(records)

            await until(committed, "all committed")
        assert consumer.outcomes() == {"applied": 2, "stale": 1, "duplicate": 1, "dead_lettered": 2}
        assert consumer.batch_records() == len(records)
    finally:
        await admin.execute("ALTER TABLE node_stats_cache DROP CONSTRAINT refused")
        await admin.close()
