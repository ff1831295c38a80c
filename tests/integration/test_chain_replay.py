"""Another chain than the simulated one, written by hand: only the base URLs say that it is this one.

Its epochs are 9,000 blocks, its PoC validation ends 240 blocks after PoC start, new validators take 90 more, and one of
its two nodes has lost most blocks. Every expected amount and date was computed by hand.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from services.kernel.events import EARNINGS_TOPIC
from tests.captured import INFERENCE, Reply, serving
from tests.integration.pipeline import Pipeline, until

pytestmark = pytest.mark.integration

ANNA, BORIS, CHLOE, DMITRI = (f"gonka1{letter * 38}" for letter in "qpzr")

SETTLED = {
    700: (6_309_240, "2026-04-01T00:00:30.123456789Z"),
    701: (6_318_240, "2026-04-01T23:59:59.999999999Z"),
    702: (6_327_240, None),  # no node has this block any more
    703: (6_336_240, "2026-04-03T12:00:00Z"),
    704: (6_345_240, "2026-04-05T00:10:00.5Z"),
}
EARLIEST = (6_327_300, "2026-04-02T18:05:00Z")
LATEST = (6_350_000, "2026-04-05T09:00:00Z")

# earned_coins and rewarded_coins of each epoch.
PAID: dict[int, dict[str, tuple[Any, Any]]] = {
    700: {ANNA: ("5", "1000000000000"), BORIS: ("0", "333333333335")},
    701: {ANNA: ("0", "999999999990"), BORIS: ("7", "0"), CHLOE: ("0", "0")},
    702: {ANNA: (12345, 48552031736571)},
    703: {BORIS: ("25", "0"), DMITRI: ("0", "4")},
    704: {ANNA: ("0", "1000000000"), CHLOE: ("0", "14")},
}
LEDGER = {
    (700, ANNA): (5, 1_000_000_000_000, 1_000_000_000_005),
    (700, BORIS): (0, 333_333_333_335, 333_333_333_335),
    (701, ANNA): (0, 999_999_999_990, 999_999_999_990),
    (701, BORIS): (7, 0, 7),
    (701, CHLOE): (0, 0, 0),
    (702, ANNA): (12_345, 48_552_031_736_571, 48_552_031_748_916),
    (703, BORIS): (25, 0, 25),
    (703, DMITRI): (0, 4, 4),
    (704, ANNA): (0, 1_000_000_000, 1_000_000_000),
    (704, CHLOE): (0, 14, 14),
}
HISTORY = {
    (ANNA, date(2026, 4, 1)): "2000.00000000",  # 1,999,999,999,995 ngonka: the half goes up
    (BORIS, date(2026, 4, 1)): "333.33333334",
    (CHLOE, date(2026, 4, 1)): "0.00000000",
    (ANNA, date(2026, 4, 2)): "48552.03174892",
    (BORIS, date(2026, 4, 3)): "0.00000003",  # 25 ngonka: again a half
    (DMITRI, date(2026, 4, 3)): "0.00000000",
    (ANNA, date(2026, 4, 5)): "1.00000000",
    (CHLOE, date(2026, 4, 5)): "0.00000001",
}
TOTALS = {
    ANNA: ("1.00000000", "50553.03174891"),
    BORIS: ("0.00000003", "333.33333337"),
    CHLOE: ("0.00000001", "0.00000001"),
    DMITRI: ("0.00000000", "0.00000000"),
}


def block(request: web.Request) -> web.Response:
    """The blocks that the first node has."""
    return _block(request, at_least=EARLIEST[0])


def archived_block(request: web.Request) -> web.Response:
    """The blocks that the second node has: the settlements', but for one."""
    return _block(request, at_least=1)


def _block(request: web.Request, *, at_least: int) -> web.Response:
    height = int(request.query["height"])
    time = next((time for at, time in SETTLED.values() if at == height), None)
    if time is None or height < at_least:
        error = {"code": -32603, "message": "Internal error", "data": f"height {height} is not available"}
        return web.json_response({"jsonrpc": "2.0", "id": -1, "error": error}, status=500)
    header = {"chain_id": "replayed", "height": str(height), "time": time}
    return web.json_response({"jsonrpc": "2.0", "id": -1, "result": {"block": {"header": header}}})


def summaries(epoch: int) -> Reply:
    """One page an epoch, two where there are three rows."""
    rows = [
        {
            "epoch_index": str(epoch),
            "participant_id": address,
            "inference_count": "1",
            "earned_coins": earned,
            "rewarded_coins": rewarded,
            "burned_coins": "3",
            "claimed": earned not in ("0", 0) or rewarded not in ("0", 0),
        }
        for address, (earned, rewarded) in PAID[epoch].items()
    ]

    def page(request: web.Request) -> web.Response:
        second = request.query.get("pagination.key") == "Qm9yaXM="
        shown, key = (rows[1:], None) if second else (rows[:1], "Qm9yaXM=") if len(rows) == 3 else (rows, None)
        return web.json_response({"epochPerformanceSummary": shown, "pagination": {"next_key": key, "total": "0"}})

    return page


def group(epoch: int) -> Reply:
    """The group of an epoch. Its effective height gives the settlement of the epoch before it."""
    return {
        "epoch_group_data": {
            "epoch_index": str(epoch),
            "epoch_group_id": "2113",
            "effective_block_height": str(SETTLED[epoch - 1][0] + 90),
            "validation_weights": [{"member_address": address, "weight": "10"} for address in PAID.get(epoch, ())],
        }
    }


def chain() -> dict[str, Reply]:
    """What the first node serves, in epoch 705."""
    replies: dict[str, Reply] = {
        "/chain-rpc/status": {
            "result": {
                "sync_info": {
                    "latest_block_height": str(LATEST[0]),
                    "latest_block_time": LATEST[1],
                    "earliest_block_height": str(EARLIEST[0]),
                    "earliest_block_time": EARLIEST[1],
                    "catching_up": False,
                }
            }
        },
        "/chain-rpc/block": block,
        "/v1/epochs/latest": {
            "block_height": LATEST[0],
            "latest_epoch": {"index": 705, "poc_start_block_height": 6_345_000},
            "phase": "Inference",
            "epoch_stages": {"epoch_index": 705, "poc_start": 6_345_000, "poc_validation_end": SETTLED[704][0]},
            "epoch_params": {"epoch_params": {"epoch_length": "9000", "set_new_validators_delay": "90"}},
        },
        "/v1/epochs/current/participants": {
            "active_participants": {"participants": [{"index": ANNA, "weight": "10", "models": []}], "epoch_id": 705}
        },
        f"{INFERENCE}/participant": {"participant": [{"index": ANNA, "status": "ACTIVE"}], "pagination": None},
    }
    for epoch in PAID:
        replies[f"{INFERENCE}/epoch_performance_summary/{epoch}"] = summaries(epoch)
        replies[f"{INFERENCE}/epoch_group_data/{epoch + 1}"] = group(epoch + 1)
    return replies


@contextmanager
def services(pipeline: Pipeline, sources: Path) -> Iterator[None]:
    pipeline.start("earnings")
    pipeline.start("ingest", MINEGNK_SOURCES_FILE=str(sources))
    try:
        yield
    finally:
        pipeline.stop_all()


async def test_another_chain_is_counted_to_the_last_ngonka_when_only_the_base_urls_change(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    async with serving(chain()) as node, serving({"/chain-rpc/block": archived_block}) as archive:
        sources = tmp_path / "sources.toml"
        sources.write_text(
            '[[sources]]\nname = "gonka_api"\nkind = "gonka_api"\npoll_interval = 1\nrequests_per_minute = 6000\n'
            f'base_urls = ["{node.url}", "{archive.url}"]\nallow_private = true\n'
        )
        with services(pipeline, sources):

            async def whole() -> bool:
                rows = await pipeline.rows("SELECT count(*) FROM earnings_ledger WHERE final")
                return rows == [(len(LEDGER),)]

            await until(whole, "every payment in the ledger", 60)
            await pipeline.drained(EARNINGS_TOPIC)
        documented = ("/chain-rpc/", "/chain-api/", "/v1/")
        assert all(request.startswith(documented) for request in [*node.requests, *archive.requests])
    assert {
        (period, identifier): (int(work), int(reward), int(amount))
        for period, identifier, work, reward, amount in await pipeline.rows(
            "SELECT period, identifier, work_ngonka, reward_ngonka, amount_ngonka FROM earnings_ledger "
            "JOIN nodes ON nodes.id = node_id"
        )
    } == LEDGER
    settled = {
        epoch: (exact, settled_at)
        for epoch, exact, settled_at in await pipeline.rows("SELECT epoch, exact, settled_at FROM epoch_settlement")
    }
    assert [epoch for epoch, (exact, _) in settled.items() if not exact] == [702]
    assert settled[701] == (True, datetime(2026, 4, 1, 23, 59, 59, 999_999, tzinfo=UTC))
    assert {
        (identifier, day): gnk
        for identifier, day, gnk in await pipeline.rows(
            "SELECT identifier, date, earnings_gnk FROM earnings_history JOIN nodes ON nodes.id = node_id"
        )
    } == {key: Decimal(gnk) for key, gnk in HISTORY.items()}
    assert {
        identifier: totals
        for identifier, *totals in await pipeline.rows(
            "SELECT identifier, earnings_day, earnings_total FROM node_stats_cache JOIN nodes ON nodes.id = node_id"
        )
    } == {address: [Decimal(day), Decimal(total)] for address, (day, total) in TOTALS.items()}
