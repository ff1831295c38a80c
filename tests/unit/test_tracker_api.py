"""Hyperfusion's and Gonkascan's reply: every drift and trap of it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from services.ingest.trackers.gonkascan import MAP, Gonkascan, regions
from services.ingest.trackers.hyperfusion import Hyperfusion
from services.ingest.trackers.status import node_status
from services.ingest.trackers.tracker_api import EPOCHS, poll_of, total_of
from services.kernel.errors import SourceError
from tests.captured import CURRENT, serving
from tests.unit.ingest_fakes import ALICE, BOB, CAROL, ManualClock, a_fetcher, a_source

CACHED_AT = "2025-12-31T23:59:30.900851"


def row(address: str, **more: Any) -> dict[str, Any]:
    return {
        "index": address,
        "address": address,
        "weight": 521,
        "status": "ACTIVE",
        "models": ["A", "B"],
        "current_epoch_stats": {"inference_count": "14"},
        "is_jailed": False,
        "node_healthy": True,
        **more,
    }


def reply(*rows: Any, **more: Any) -> dict[str, Any]:
    return {"epoch_id": 105, "height": 1634323, "cached_at": CACHED_AT, "participants": list(rows), **more}


def test_a_row_becomes_a_reading_observed_when_the_tracker_cached_it() -> None:
    poll = poll_of(reply(row(ALICE, moniker="Alice")), "hyperfusion")
    (reading,) = poll.readings
    assert reading.observed_at == poll.data_at == datetime(2025, 12, 31, 23, 59, 30, 900851, tzinfo=UTC)
    assert (reading.identifier, reading.identifier_type, reading.source) == (ALICE, "wallet", "hyperfusion")
    assert (reading.status, reading.jobs_day, reading.active_model) == ("healthy", 14, "A")
    assert (reading.voting_weight, reading.epoch, reading.height) == (Decimal(521), 105, 1634323)
    assert reading.display_name == "Alice"


@pytest.mark.parametrize(
    ("cached_at", "microsecond"),
    [("2026-01-01T00:00:00.123456789Z", 123456), ("2026-01-01T03:00:00+03:00", 0), ("2026-01-01T00:00:00", 0)],
)
def test_a_time_is_utc_with_or_without_its_zone_and_cut_to_microseconds(cached_at: str, microsecond: int) -> None:
    poll = poll_of(reply(row(ALICE), cached_at=cached_at), "hyperfusion")
    assert poll.data_at == datetime(2026, 1, 1, 0, 0, 0, microsecond, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"is_jailed": True, "node_healthy": False}, "jailed"),
        ({"is_jailed": None}, "healthy"),
        ({"is_jailed": None, "node_healthy": False}, "unhealthy"),
        ({"node_healthy": None}, "healthy"),
        ({"node_healthy": None, "status": "INACTIVE"}, "unhealthy"),
        ({"node_healthy": None, "status": "INVALID"}, "unhealthy"),
        ({"node_healthy": None, "status": "UNCONFIRMED"}, "unhealthy"),
        ({"status": 5}, "unhealthy"),
        ({"status": None, "participant_status": "INACTIVE"}, "unhealthy"),
        ({"status": "RAMPING"}, "healthy"),
        ({"status": "ACTIVE", "node_healthy": True}, "healthy"),
    ],
)
def test_the_status_is_jailed_else_unhealthy_else_healthy(changes: dict[str, Any], status: str) -> None:
    assert poll_of(reply(row(ALICE, **changes)), "hyperfusion").readings[0].status == status


def test_offline_outranks_unhealthy_and_jailed_outranks_offline() -> None:
    assert node_status(offline=True, node_healthy=False) == "offline"
    assert node_status(offline=True, jailed=True) == "jailed"


def test_numbers_may_be_strings_and_strings_numbers() -> None:
    drifted = reply(
        row(ALICE, weight="521", current_epoch_stats={"inference_count": 14}), epoch_id="105", height="1634323"
    )
    (reading,) = poll_of(drifted, "hyperfusion").readings
    assert (reading.voting_weight, reading.jobs_day, reading.epoch) == (Decimal(521), 14, 105)


def test_what_is_missing_or_null_is_unknown_and_not_zero() -> None:
    for bare in ({"index": ALICE}, {"address": ALICE, "weight": None, "models": None, "current_epoch_stats": None}):
        (reading,) = poll_of({"cached_at": CACHED_AT, "participants": [bare]}, "hyperfusion").readings
        assert reading.identifier == ALICE
        assert (reading.voting_weight, reading.jobs_day, reading.active_model, reading.epoch) == (None,) * 4


def test_a_negative_weight_means_none_given() -> None:
    assert poll_of(reply(row(ALICE, weight=-1)), "hyperfusion").readings[0].voting_weight is None


def test_one_bad_row_never_loses_the_others() -> None:
    bad: list[Any] = [
        row(BOB, weight="many"),
        row(BOB, current_epoch_stats={"inference_count": str(2**31)}),
        row(BOB, current_epoch_stats={"inference_count": "-4"}),
        row(BOB, weight=10**13),
        row(BOB, is_jailed="perhaps"),
        row("gonkavaloper1x"),
        row("gonka1with space"),
        row("gonka1host/node1"),
        None,
        "text",
        {},
    ]
    poll = poll_of(reply(row(ALICE), *bad, row(CAROL)), "hyperfusion")
    assert [reading.identifier for reading in poll.readings] == [ALICE, CAROL]
    assert len(poll.skipped) == len(bad)
    assert not poll.complete


def test_a_host_that_is_listed_twice_is_read_once() -> None:
    poll = poll_of(reply(row(ALICE), row(ALICE, weight=7)), "hyperfusion")
    assert [reading.voting_weight for reading in poll.readings] == [Decimal(521)]
    assert len(poll.skipped) == 1


def test_zero_for_everybody_is_unknown_and_for_one_of_several_real() -> None:
    zero = {"current_epoch_stats": {"inference_count": "0"}}
    everybody = poll_of(reply(row(ALICE, **zero), row(BOB, **zero)), "hyperfusion")
    one = poll_of(reply(row(ALICE, **zero), row(BOB)), "hyperfusion")
    assert [reading.jobs_day for reading in everybody.readings] == [None, None]
    assert [reading.jobs_day for reading in one.readings] == [0, 14]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (reply(), "empty list"),
        (reply(participants=None), "no list"),
        ({"cached_at": CACHED_AT, "ml_nodes": [row(ALICE)]}, "no list"),
        (reply(row(ALICE), cached_at=None), "no cached_at"),
        (reply(row(ALICE), cached_at="yesterday"), "cached_at"),
        (reply(row("gonkavaloper1x")), "no usable row among 1"),
        ([], "unusable reply"),
        (None, "unusable reply"),
    ],
)
def test_a_reply_without_list_or_time_is_an_error_of_the_source(body: Any, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        poll_of(body, "hyperfusion")


async def test_the_next_base_url_is_asked_when_one_fails_and_first_from_then_on() -> None:
    clock = ManualClock()
    async with serving({}) as broken, serving({CURRENT: reply(row(ALICE))}) as good:
        source = a_source(broken.url, good.url, kind="hyperfusion")
        tracker = Hyperfusion(source, a_fetcher(clock), clock)
        await tracker.poll()
        await tracker.poll()
        await tracker.aclose()
        assert (len(broken.requests), len(good.requests)) == (1, 2)


async def test_when_every_base_url_fails_the_reasons_are_told_once_each() -> None:
    clock = ManualClock()
    async with serving({}) as one, serving({CURRENT: reply()}) as two:
        tracker = Hyperfusion(a_source(one.url, two.url, kind="hyperfusion"), a_fetcher(clock), clock)
        with pytest.raises(SourceError, match=r"HTTP 404; .*empty list"):
            await tracker.poll()
        await tracker.aclose()


async def test_a_base_url_that_serves_older_data_than_it_may_is_not_preferred() -> None:
    clock = ManualClock()
    old = reply(row(ALICE), cached_at="2025-12-31T20:00:00")
    async with serving({CURRENT: old}) as stale, serving({CURRENT: reply(row(ALICE))}) as fresh:
        tracker = Hyperfusion(a_source(stale.url, fresh.url, kind="hyperfusion"), a_fetcher(clock), clock)
        assert (await tracker.poll()).data_at.hour == 23
        await tracker.aclose()


async def test_old_data_is_still_given_when_there_is_no_newer() -> None:
    clock = ManualClock()
    async with serving({CURRENT: reply(row(ALICE), cached_at="2025-12-31T20:00:00")}) as stale:
        tracker = Hyperfusion(a_source(stale.url, kind="hyperfusion"), a_fetcher(clock), clock)
        assert (await tracker.poll()).data_at.hour == 20
        await tracker.aclose()


async def test_a_tracker_whose_clock_is_ahead_is_not_believed() -> None:
    clock = ManualClock()
    ahead = (clock.now() + timedelta(minutes=6)).isoformat()
    async with serving({CURRENT: reply(row(ALICE), cached_at=ahead)}) as server:
        tracker = Hyperfusion(a_source(server.url, kind="hyperfusion"), a_fetcher(clock), clock)
        with pytest.raises(SourceError, match="ahead of ours"):
            await tracker.poll()
        await tracker.aclose()


def test_regions_are_named_as_far_as_they_are_known() -> None:
    places = [
        {"index": ALICE, "region": "Hesse", "country": "Germany"},
        {"address": BOB, "region": None, "country": "Finland"},
        {"index": CAROL},
        {"index": "nobody", "country": "France"},
        7,
    ]
    assert regions({"participants": places}) == {ALICE: "Hesse, Germany", BOB: "Finland"}


async def test_gonkascan_adds_regions_from_its_map_once_an_hour() -> None:
    clock = ManualClock()
    map_reply = {"participants": [{"index": ALICE, "country": "Finland"}]}
    async with serving({CURRENT: reply(row(ALICE), hardware=None), MAP: map_reply}) as server:
        tracker = Gonkascan(a_source(server.url, kind="gonkascan"), a_fetcher(clock), clock)
        first, second = await tracker.poll(), await tracker.poll()
        assert [poll.readings[0].region for poll in (first, second)] == ["Finland", "Finland"]
        assert first.readings[0].source == "gonkascan"
        assert server.count(MAP) == 1
        await clock.advance(3600)
        await tracker.poll()
        assert server.count(MAP) == 2
        await tracker.aclose()


async def test_gonkascan_works_without_its_map() -> None:
    clock = ManualClock()
    async with serving({CURRENT: reply(row(ALICE)), MAP: lambda _: web.Response(status=500)}) as server:
        tracker = Gonkascan(a_source(server.url, kind="gonkascan"), a_fetcher(clock), clock)
        assert (await tracker.poll()).readings[0].region is None
        await tracker.aclose()


@pytest.mark.parametrize(("epoch_id", "newest"), [(105, 104), ("105", 104), (0, None), (None, None)])
def test_the_epochs_before_the_one_that_is_shown_have_settled(epoch_id: Any, newest: int | None) -> None:
    assert poll_of(reply(row(ALICE), epoch_id=epoch_id), "hyperfusion").newest_settled == newest


def epoch_reply(total: Any, epoch: Any = 104, **more: Any) -> dict[str, Any]:
    return reply(row(ALICE), epoch_id=epoch, is_current=False, total_assigned_rewards_gnk=total, **more)


@pytest.mark.parametrize(
    ("total", "ngonka"),
    [
        (129_461, 129_461 * 10**9),
        ("129461", 129_461 * 10**9),
        (Decimal("129461.0"), 129_461 * 10**9),
        (Decimal("1.29461E+5"), 129_461 * 10**9),
        (Decimal("129461.123456789"), 129_461_123_456_789),
        (Decimal("129461.12345678999"), 129_461_123_456_789),
        (10**9, 10**18),
    ],
)
def test_an_epochs_total_is_exact_in_ngonka_and_cut_to_whole_ones(total: Any, ngonka: int) -> None:
    assert total_of(epoch_reply(total), 104) == ngonka


@pytest.mark.parametrize("total", [None, "", 0, "0", Decimal("0.0")])
def test_a_total_that_is_null_or_zero_is_unknown(total: Any) -> None:
    assert total_of(epoch_reply(total), 104) is None


def test_a_total_of_the_running_epoch_is_none_yet() -> None:
    assert total_of(epoch_reply(7) | {"is_current": True}, 104) is None
    assert total_of({"epoch_id": 104}, 104) is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (epoch_reply(7, epoch=105), "about epoch 105, not 104"),
        (epoch_reply(7, epoch=None), "about epoch None"),
        (epoch_reply(-7), "no amount"),
        (epoch_reply(Decimal("1E-10")), "no amount"),
        (epoch_reply(10**9 + 1), "beyond"),
        (epoch_reply(Decimal("1E+999999")), "not a finite number"),
        (epoch_reply("plenty"), "unusable reply"),
        (epoch_reply(True), "unusable reply"),
        ([], "unusable reply"),
    ],
)
def test_what_is_no_total_of_the_epoch_is_an_error_of_the_source(body: Any, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        total_of(body, 104)


@pytest.mark.parametrize(("kind", "adapter"), [("hyperfusion", Hyperfusion), ("gonkascan", Gonkascan)])
async def test_a_total_is_that_of_the_first_base_url_that_has_one(kind: str, adapter: Any) -> None:
    clock = ManualClock()
    # As the tracker writes it: a number, here with more places than a float can hold.
    raw = b'{"epoch_id": 104, "is_current": false, "total_assigned_rewards_gnk": 275403.000000001}'
    path = f"{EPOCHS}/104"
    async with serving({}) as broken, serving({path: epoch_reply(None)}) as late, serving({path: raw}) as good:
        tracker = adapter(a_source(broken.url, late.url, good.url, kind=kind), a_fetcher(clock), clock)
        assert await tracker.total(104) == 275_403_000_000_001
        assert [server.count(path) for server in (broken, late, good)] == [1, 1, 1]
        await tracker.aclose()


async def test_without_a_total_anywhere_there_is_none_and_without_an_answer_there_is_an_error() -> None:
    clock = ManualClock()
    async with serving({}) as broken, serving({f"{EPOCHS}/104": epoch_reply(None)}) as late:
        tracker = Hyperfusion(a_source(broken.url, late.url, kind="hyperfusion"), a_fetcher(clock), clock)
        assert await tracker.total(104) is None
        with pytest.raises(SourceError, match="HTTP 404"):
            await tracker.total(103)
        await tracker.aclose()
