"""Polls of the network itself: proof of offline, failover by heights, boundaries, drift."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from services.ingest.trackers.gonka_api import GonkaApi
from services.ingest.trackers.hardware import HardwareNodes, gpu_type, normalised_gpu
from services.kernel.errors import SourceError
from services.kernel.events import NodeReading
from tests.captured import INFERENCE, Reply, Serving, latest, serving, status
from tests.unit.ingest_fakes import (
    ALICE,
    BOB,
    CAROL,
    ManualClock,
    a_fetcher,
    a_source,
    active,
    member,
    participant,
    participants,
)

ACTIVE = "/v1/epochs/current/participants"
ALL = f"{INFERENCE}/participant"
VALIDATORS = "/chain-api/cosmos/staking/v1beta1/validators"
BOUNDARY = 10_000
HEIGHT = 12_000


def node(**changes: Reply) -> dict[str, Reply]:
    """Alice and Bob are active, Carol is not. Epoch 7 runs since block 10,000."""
    replies: dict[str, Reply] = {
        "/chain-rpc/status": status(HEIGHT, "2025-12-31T23:59:58.123456789Z"),
        "/v1/epochs/latest": latest(7, BOUNDARY),
        ACTIVE: active(member(ALICE), member(BOB)),
        ALL: participants(participant(ALICE), participant(BOB, "0"), participant(CAROL, "2")),
    }
    return replies | changes


@asynccontextmanager
async def polling(*nodes: dict[str, Reply], clock: ManualClock | None = None, **more: Any) -> AsyncIterator[Any]:
    """The adapter and its servers."""
    clock = clock or ManualClock()
    async with serving(nodes[0]) as first, serving(nodes[-1]) as second:
        servers: list[Serving] = [first, second][: len(nodes)]
        tracker = GonkaApi(a_source(*(server.url for server in servers), **more), a_fetcher(clock), clock)
        try:
            yield tracker, *servers
        finally:
            await tracker.aclose()


async def readings(replies: dict[str, Reply]) -> dict[str, NodeReading]:
    async with polling(replies) as (tracker, _):
        return {reading.identifier: reading for reading in (await tracker.poll()).readings}


def statuses(found: dict[str, NodeReading]) -> dict[str, str | None]:
    return {address: reading.status for address, reading in found.items()}


async def test_a_cycle_is_observed_at_the_block_time_of_the_node_that_answered() -> None:
    async with polling(node()) as (tracker, _):
        poll = await tracker.poll()
    assert poll.data_at == datetime(2025, 12, 31, 23, 59, 58, 123456, tzinfo=UTC)
    assert {reading.observed_at for reading in poll.readings} == {poll.data_at}
    assert (poll.epoch, poll.height, poll.complete, poll.newest_settled) == (7, HEIGHT, True, 6)


async def test_weight_and_model_come_from_the_active_set_and_jobs_from_the_chain() -> None:
    found = await readings(node())
    alice = found[ALICE]
    assert (alice.status, alice.voting_weight, alice.active_model, alice.jobs_day) == ("healthy", Decimal(10), "M", 3)
    assert found[BOB].jobs_day == 0


async def test_a_participant_outside_a_complete_active_set_is_offline() -> None:
    carol = (await readings(node()))[CAROL]
    assert (carol.status, carol.voting_weight, carol.active_model, carol.jobs_day) == ("offline", None, None, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {ACTIVE: active(member(ALICE), member(BOB), addresses=["A1", "B1", "C1"])},
        {ACTIVE: active(member(ALICE), {"index": BOB, "weight": "much"})},
        {ALL: participants(participant(ALICE), participant(CAROL), pagination={"total": "477"})},
    ],
    ids=["addresses_do_not_match", "unusable_member", "list_is_short"],
)
async def test_nobody_is_offline_when_a_list_is_incomplete(changes: dict[str, Reply]) -> None:
    async with polling(node(**changes)) as (tracker, _):
        poll = await tracker.poll()
    assert "offline" not in {reading.status for reading in poll.readings}
    assert CAROL not in {reading.identifier for reading in poll.readings}
    assert not poll.complete


async def test_a_set_that_shrinks_within_its_epoch_proves_nothing() -> None:
    async with polling(node()) as (tracker, server):
        await tracker.poll()
        server.replies[ACTIVE] = active(member(ALICE))
        server.replies["/chain-rpc/status"] = status(HEIGHT + 1, "2026-01-01T00:00:03Z")
        assert [reading.identifier for reading in (await tracker.poll()).readings] == [ALICE]
        server.replies[ACTIVE] = active(member(ALICE), epoch=8)
        server.replies["/v1/epochs/latest"] = latest(8, HEIGHT - 1000)
        poll = await tracker.poll()
        assert {r.identifier for r in poll.readings if r.status == "offline"} == {BOB, CAROL}


async def test_every_page_of_all_participants_is_read() -> None:
    replies = node(
        **{
            f"{ALL}?pagination.limit=10000": participants(
                participant(ALICE), participant(BOB), pagination={"next_key": "a+/=", "total": "3"}
            ),
            f"{ALL}?pagination.limit=10000&pagination.key=a%2B/%3D": participants(participant(CAROL)),
        }
    )
    assert statuses(await readings(replies)) == {ALICE: "healthy", BOB: "healthy", CAROL: "offline"}


async def test_a_page_key_that_repeats_itself_ends_the_list_unfinished() -> None:
    page = participants(participant(ALICE), participant(CAROL), pagination={"next_key": "again"})
    assert CAROL not in await readings(node(**{ALL: page}))


async def test_without_the_chains_list_the_active_set_speaks_alone() -> None:
    replies = node(**{ACTIVE: active(member(ALICE), member(BOB), excluded_participants=[{"address": BOB}])})
    del replies[ALL]
    async with polling(replies, dict(replies)) as (tracker, _, second):
        poll = await tracker.poll()
    found = {reading.identifier: reading for reading in poll.readings}
    assert statuses(found) == {ALICE: "healthy", BOB: "unhealthy"}
    assert (found[ALICE].voting_weight, found[ALICE].active_model, found[ALICE].jobs_day) == (Decimal(10), "M", None)
    assert not poll.complete
    assert second.count(ALL) == 1  # every base URL was asked for it


@pytest.mark.parametrize("listed", [participants(), {"participant": None}, {}, b"cut {", []])
async def test_an_empty_or_cut_list_of_participants_marks_nobody_offline(listed: Any) -> None:
    assert statuses(await readings(node(**{ALL: listed}))) == {ALICE: "healthy", BOB: "healthy"}


@pytest.mark.parametrize("listed", [active(), {"active_participants": {}}, {}, b"", active({"index": "nobody"})])
async def test_an_empty_or_cut_active_set_is_an_error_of_the_source(listed: Any) -> None:
    async with polling(node(**{ACTIVE: listed})) as (tracker, _):
        with pytest.raises(SourceError):
            await tracker.poll()


@pytest.mark.parametrize("value", ["INACTIVE", "INVALID", "UNCONFIRMED", 5])
async def test_an_active_host_whose_participant_is_not_is_unhealthy(value: Any) -> None:
    replies = node(**{ALL: participants(participant(ALICE, status=value), participant(BOB, status="RAMPING"))})
    assert statuses(await readings(replies)) == {ALICE: "unhealthy", BOB: "healthy"}


@pytest.mark.parametrize("excluded", [[{"address": BOB, "reason": "failed_confirmation_poc"}], [BOB, None, 7]])
async def test_an_excluded_host_is_unhealthy(excluded: list[Any]) -> None:
    found = await readings(node(**{ACTIVE: active(member(ALICE), member(BOB), excluded_participants=excluded)}))
    assert found[BOB].status == "unhealthy"


def validators(*keys: str) -> dict[str, Any]:
    return {"validators": [{"jailed": True, "consensus_pubkey": {"key": key}} for key in keys]}


async def test_a_host_with_a_jailed_validators_key_is_jailed_even_when_it_is_offline() -> None:
    found = await readings(node(**{VALIDATORS: validators(f"key-{BOB}", f"key-{CAROL}")}))
    assert statuses(found) == {ALICE: "healthy", BOB: "jailed", CAROL: "jailed"}


async def test_hosts_without_a_key_are_not_jailed_with_validators_without_one() -> None:
    replies = node(
        **{
            VALIDATORS: validators("", f"key-{CAROL}"),
            ACTIVE: active(member(ALICE, validator_key=""), member(BOB)),
            ALL: participants(participant(ALICE, validator_key="")),
        }
    )
    assert (await readings(replies))[ALICE].status == "healthy"


async def test_jails_are_asked_for_every_ten_minutes_and_kept_in_between() -> None:
    clock = ManualClock()
    async with polling(node(**{VALIDATORS: validators(f"key-{BOB}")}), clock=clock) as (tracker, server):
        await tracker.poll()
        await clock.advance(599)
        server.replies[VALIDATORS] = lambda _: web.Response(status=500)
        assert {r.identifier: r.status for r in (await tracker.poll()).readings}[BOB] == "jailed"
        assert server.count(VALIDATORS) == 1
        await clock.advance(2)
        assert {r.identifier: r.status for r in (await tracker.poll()).readings}[BOB] == "jailed"
        assert server.count(VALIDATORS) == 2
        await clock.advance(1800)
        assert {r.identifier: r.status for r in (await tracker.poll()).readings}[BOB] == "healthy"


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (status(HEIGHT, "2026-01-01T00:00:00Z", catching_up=True), "is catching up"),
        (status(HEIGHT, "2026-01-01T00:06:00Z"), "ahead of ours"),
        (status(0, "2026-01-01T00:00:00Z"), "no height"),
        ({"error": {"code": -32603}}, "unusable reply"),
    ],
)
async def test_a_node_that_cannot_be_believed_is_passed_over(standing: Any, said: str) -> None:
    async with polling(node(**{"/chain-rpc/status": standing})) as (tracker, _):
        with pytest.raises(SourceError, match=said):
            await tracker.poll()


async def test_the_next_base_url_does_the_whole_cycle() -> None:
    broken = node(**{ACTIVE: lambda _: web.Response(status=500)})
    async with polling(broken, node()) as (tracker, first, second):
        poll = await tracker.poll()
        assert poll.complete
        assert [path.split("?")[0] for path in second.requests[:4]] == [
            "/chain-rpc/status",
            "/v1/epochs/latest",
            ACTIVE,
            ALL,
        ]
        first.requests.clear()
        await tracker.poll()
        assert first.requests == []  # the one that answered is asked first from now on


async def test_a_node_below_the_highest_height_ever_seen_is_never_believed() -> None:
    behind = node(**{"/chain-rpc/status": status(HEIGHT - 1, "2025-12-31T23:59:52Z")})
    async with polling(node(), behind) as (tracker, first, _):
        await tracker.poll()
        first.replies.clear()
        with pytest.raises(SourceError, match=f"stands at {HEIGHT - 1}, below {HEIGHT}"):
            await tracker.poll()


async def test_numbers_of_the_active_set_may_be_strings() -> None:
    replies = node(**{ACTIVE: active(member(ALICE, weight="9512"), epoch="7")})  # type: ignore[arg-type]
    alice = (await readings(replies))[ALICE]
    assert (alice.voting_weight, alice.epoch) == (Decimal(9512), 7)


async def test_the_chains_own_weight_is_never_used() -> None:
    replies = node(**{ACTIVE: active(member(ALICE, weight=-1)), ALL: participants(participant(ALICE, weight=1))})
    assert (await readings(replies))[ALICE].voting_weight is None


async def test_a_poll_works_without_the_latest_epoch() -> None:
    replies = node()
    del replies["/v1/epochs/latest"]
    async with polling(replies) as (tracker, _):
        poll = await tracker.poll()
    assert (poll.newest_settled, poll.epoch, len(poll.readings)) == (None, 7, 3)


ALL_ZERO = participants(participant(ALICE, "0"), participant(BOB, "0"))


@pytest.mark.parametrize(
    ("height", "jobs"),
    [(BOUNDARY - 1000, 0), (BOUNDARY - 1, None), (BOUNDARY, None), (BOUNDARY + 599, None), (BOUNDARY + 600, 0)],
)
async def test_zero_jobs_for_everybody_are_unknown_just_after_a_boundary(height: int, jobs: int | None) -> None:
    replies = node(**{ALL: ALL_ZERO, "/chain-rpc/status": status(height, "2026-01-01T00:00:00Z")})
    assert (await readings(replies))[ALICE].jobs_day == jobs


async def test_zero_jobs_of_one_host_are_real_just_after_a_boundary() -> None:
    found = await readings(node(**{"/chain-rpc/status": status(BOUNDARY + 1, "2026-01-01T00:00:00Z")}))
    assert (found[ALICE].jobs_day, found[BOB].jobs_day) == (3, 0)


async def test_counters_that_belong_to_the_next_epoch_already_are_not_given_to_this_one() -> None:
    found = await readings(node(**{"/v1/epochs/latest": latest(8, HEIGHT - 5)}))
    assert (found[ALICE].epoch, found[ALICE].jobs_day) == (7, None)


@pytest.mark.parametrize(("height", "newest"), [(BOUNDARY - 1, 5), (BOUNDARY, 6)])
async def test_an_epoch_has_settled_when_validation_of_the_next_one_has_ended(height: int, newest: int) -> None:
    async with polling(node(**{"/chain-rpc/status": status(height, "2026-01-01T00:00:00Z")})) as (tracker, _):
        assert (await tracker.poll()).newest_settled == newest


HARDWARE_ALL = f"{INFERENCE}/hardware_nodes_all"


def hardware(address: str, *types: tuple[str, Any]) -> dict[str, Any]:
    nodes = [{"hardware": [{"type": name, "count": count}]} for name, count in types]
    return {"participant": address, "hardware_nodes": nodes}


async def test_gpu_types_come_with_the_readings_of_active_hosts_only() -> None:
    listed = {"nodes": [hardware(ALICE, ("NVIDIA H100 80GB HBM3 | 79GB", 8)), hardware(CAROL, ("NVIDIA A100", 1))]}
    found = await readings(node(**{HARDWARE_ALL: listed}))
    assert {address: reading.gpu_type for address, reading in found.items()} == {
        ALICE: "H100 80GB",
        BOB: None,
        CAROL: None,
    }


async def test_a_poll_gives_one_reading_a_node() -> None:
    async with polling(node(**{HARDWARE_ALL: {"nodes": [hardware(ALICE, ("NVIDIA A100", 1))]}})) as (tracker, _):
        poll = await tracker.poll()
    assert len({(reading.identifier, reading.observed_at) for reading in poll.readings}) == len(poll.readings)


async def test_hardware_is_asked_for_every_ten_minutes() -> None:
    clock = ManualClock()
    async with polling(node(**{HARDWARE_ALL: {"nodes": [hardware(ALICE, ("A100", 1))]}}), clock=clock) as (
        tracker,
        server,
    ):
        for _ in range(10):
            await tracker.poll()
            await clock.advance(60)
        assert server.count(HARDWARE_ALL) == 1
        await tracker.poll()
        assert server.count(HARDWARE_ALL) == 2


async def test_without_the_list_of_all_hardware_hosts_are_asked_a_few_a_poll() -> None:
    addresses = [f"gonka1host{number}" for number in range(5)]
    replies = node(**{ACTIVE: active(*map(member, addresses))})
    for address in addresses:
        replies[f"{INFERENCE}/hardware_nodes/{address}"] = {"nodes": hardware(address, ("NVIDIA A100 40GB", 1))}
    found: dict[str, str] = {}
    async with polling(replies, requests_per_minute=4) as (tracker, server):
        for asked in (2, 4, 5, 5):
            poll = await tracker.poll()
            found |= {reading.identifier: reading.gpu_type for reading in poll.readings if reading.gpu_type}
            assert server.count("hardware_nodes/") == asked
    assert found == dict.fromkeys(addresses, "A100 40GB")


@pytest.mark.parametrize(
    ("reported", "normalised"),
    [
        ("NVIDIA H100 80GB HBM3 | 79GB", "H100 80GB"),
        ("NVIDIA GeForce RTX 3090 | 24GB", "RTX 3090 24GB"),
        ("NVIDIA A100-SXM4-80GB | 80GB", "A100-SXM4-80GB"),
        ("NVIDIA H200", "H200"),
        ("Tesla T4 | 15GB", "T4 15GB"),
        ("  ", None),
        ("X" * 60, "X" * 50),
    ],
)
def test_a_gpu_is_named_by_model_and_memory(reported: str, normalised: str | None) -> None:
    assert normalised_gpu(reported) == normalised


def test_the_most_frequent_gpu_by_count_is_the_hosts() -> None:
    host = hardware(ALICE, ("A100", "2"), ("H100", 5), ("A100", 2), ("", 100), ("L4", "many"))
    assert gpu_type(HardwareNodes.model_validate(host)) == "H100"


def test_a_host_without_declared_hardware_has_no_gpu_type() -> None:
    assert gpu_type(HardwareNodes.model_validate({"hardware_nodes": [{"hardware": []}, {}, None]})) is None
