"""What epochs paid: when they settled, which amounts are known, and what happens when requests fail."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from services.ingest.trackers.gonka_api import GonkaApi
from services.kernel.errors import SourceError
from tests.captured import INFERENCE, Reply, Serving, block, group_data, latest, serving, status
from tests.unit.ingest_fakes import ALICE, BOB, CAROL, ManualClock, a_fetcher, a_source, active, member, summary

SUMMARY = f"{INFERENCE}/epoch_performance_summary"
BOUNDARY = 10_000
HEIGHT = 12_000
SETTLED_AT = datetime(2025, 12, 31, 20, 0, 0, 123456, tzinfo=UTC)


def group_of(epoch: int) -> str:
    return f"{INFERENCE}/epoch_group_data/{epoch}"


def summaries(*rows: Any, **more: Any) -> dict[str, Any]:
    return {"epochPerformanceSummary": list(rows), **more}


def node(**changes: Reply) -> dict[str, Reply]:
    """Epoch 7 runs; epoch 6 settled at block 10,000 and paid Alice and Bob."""
    replies: dict[str, Reply] = {
        "/chain-rpc/status": status(HEIGHT, "2025-12-31T23:59:58Z"),
        "/v1/epochs/latest": latest(7, BOUNDARY),
        f"/chain-rpc/block?height={BOUNDARY}": block(BOUNDARY, "2025-12-31T20:00:00.123456789Z"),
        group_of(6): group_data(6, 5000, [ALICE, BOB]),
        f"{SUMMARY}/6": summaries(summary(ALICE, 6), summary(BOB, 6, "0", "0", claimed=False)),
    }
    return replies | changes


def one_by_one(*addresses: str, **changes: Reply) -> dict[str, Reply]:
    """A node whose list of summaries fails: the hosts of epoch 6 and their summaries."""
    replies = node() | {group_of(6): group_data(6, 5000, list(addresses)), f"{SUMMARY}/6": failing()}
    for address in addresses:
        replies[f"{SUMMARY}/6/{address}"] = {"epochPerformanceSummary": summary(address, 6)}
    return replies | changes


def failing(code: int = 500) -> Callable[[web.Request], web.Response]:
    return lambda _: web.Response(status=code)


@asynccontextmanager
async def settling(*nodes: dict[str, Reply]) -> AsyncIterator[Any]:
    clock = ManualClock()
    async with serving(nodes[0]) as first, serving(nodes[-1]) as second:
        servers: list[Serving] = [first, second][: len(nodes)]
        tracker = GonkaApi(a_source(*(server.url for server in servers)), a_fetcher(clock), clock)
        try:
            yield tracker, *servers
        finally:
            await tracker.aclose()


async def test_an_amount_is_work_and_reward_and_burned_coins_are_not_taken_off() -> None:
    async with settling(node()) as (tracker, _):
        settlement = await tracker.settled(6)
    alice, bob = settlement.reports
    assert (alice.identifier, alice.identifier_type, alice.kind, alice.period) == (ALICE, "wallet", "epoch", 6)
    assert (alice.amount_ngonka, alice.work_ngonka, alice.reward_ngonka) == (1005, 5, 1000)
    assert (alice.final, alice.claimed) == (True, True)
    assert (bob.amount_ngonka, bob.final, bob.claimed) == (0, True, False)
    assert settlement.complete


async def test_an_epoch_settles_at_the_block_that_ends_validation_of_the_next() -> None:
    async with settling(node()) as (tracker, _):
        report = (await tracker.settled(6)).reports[0]
    assert (report.settled_at, report.settled_exact) == (SETTLED_AT, True)
    assert report.observed_at == datetime(2025, 12, 31, 23, 59, 58, tzinfo=UTC)


async def test_an_older_epoch_settled_before_its_successor_took_effect() -> None:
    replies = node(
        **{
            "/v1/epochs/latest": latest(9, 11_000, delay=120),
            group_of(7): group_data(7, BOUNDARY + 120, [ALICE]),
        }
    )
    async with settling(replies) as (tracker, _):
        assert (await tracker.settled(6)).reports[0].settled_at == SETTLED_AT


async def test_the_delay_is_found_where_parameters_are_nested_and_strings() -> None:
    drifted = latest(9, 11_000)
    drifted["epoch_params"] = {"epoch_params": {"epoch_length": "40320", "set_new_validators_delay": "120"}}
    replies = node(**{"/v1/epochs/latest": drifted, group_of(7): group_data(7, BOUNDARY + 120, [ALICE])})
    async with settling(replies) as (tracker, _):
        assert (await tracker.settled(6)).reports[0].settled_at == SETTLED_AT


async def test_without_the_stage_itself_the_delay_before_the_new_validators_gives_it() -> None:
    reply = latest(7, BOUNDARY)
    reply["epoch_stages"] = {"epoch_index": "7", "set_new_validators": BOUNDARY + 120}
    async with settling(node(**{"/v1/epochs/latest": reply})) as (tracker, _):
        assert (await tracker.settled(6)).reports[0].settled_at == SETTLED_AT


@pytest.mark.parametrize("epoch", [7, 8, -1])
async def test_an_epoch_without_a_successor_has_not_settled(epoch: int) -> None:
    async with settling(node()) as (tracker, _):
        assert await tracker.settled(epoch) is None


async def test_an_epoch_has_not_settled_while_its_successor_validates() -> None:
    async with settling(node(**{"/chain-rpc/status": status(BOUNDARY - 1, "2026-01-01T00:00:00Z")})) as (tracker, _):
        assert await tracker.settled(6) is None


ZERO = summaries(summary(ALICE, 6, "0", "0"), summary(BOB, 6, "0", "0"))


@pytest.mark.parametrize(("blocks", "known"), [(1, False), (599, False), (600, True)])
async def test_a_list_of_zeros_is_unknown_for_six_hundred_blocks(blocks: int, known: bool) -> None:
    replies = node(**{f"{SUMMARY}/6": ZERO, "/chain-rpc/status": status(BOUNDARY + blocks, "2026-01-01T00:00:00Z")})
    async with settling(replies) as (tracker, _):
        assert (await tracker.settled(6) is not None) == known


async def test_zeros_read_one_by_one_are_unknown_for_as_long() -> None:
    zero = {"epochPerformanceSummary": summary(ALICE, 6, "0", "0")}
    replies = one_by_one(ALICE, **{f"{SUMMARY}/6/{ALICE}": zero})
    replies["/chain-rpc/status"] = status(BOUNDARY + 1, "2026-01-01T00:00:00Z")
    async with settling(replies) as (tracker, _):
        assert await tracker.settled(6) is None


async def test_a_zero_read_before_the_others_were_counted_is_unknown_too() -> None:
    """Read host by host, the chain may count between two of them."""
    replies = one_by_one(
        ALICE, BOB, **{f"{SUMMARY}/6/{ALICE}": {"epochPerformanceSummary": summary(ALICE, 6, "0", "0")}}
    )
    replies["/chain-rpc/status"] = status(BOUNDARY + 1, "2026-01-01T00:00:00Z")
    async with settling(replies) as (tracker, server):
        settlement = await tracker.settled(6)
        assert [report.identifier for report in settlement.reports] == [BOB]
        assert not settlement.complete
        server.replies["/chain-rpc/status"] = status(BOUNDARY + 600, "2026-01-01T00:00:00Z")
        settlement = await tracker.settled(6)
        assert {report.identifier: report.amount_ngonka for report in settlement.reports} == {ALICE: 0, BOB: 1005}
        assert settlement.complete


async def test_a_pruned_blocks_time_is_asked_of_the_other_base_urls() -> None:
    pruned = node()
    del pruned[f"/chain-rpc/block?height={BOUNDARY}"]
    async with settling(pruned, node()) as (tracker, _, _):
        report = (await tracker.settled(6)).reports[0]
    assert (report.settled_at, report.settled_exact) == (SETTLED_AT, True)


async def test_a_block_pruned_everywhere_is_dated_between_its_known_neighbours() -> None:
    successor = active(member(ALICE), block={"header": {"height": BOUNDARY + 1, "time": "2025-12-31T20:00:06Z"}})
    standing = status(
        HEIGHT,
        "2025-12-31T23:59:58Z",
        earliest_block_height=str(BOUNDARY - 1000),
        earliest_block_time="2025-12-31T18:20:00Z",
    )
    replies = node(**{"/v1/epochs/7/participants": successor, "/chain-rpc/status": standing})
    del replies[f"/chain-rpc/block?height={BOUNDARY}"]
    async with settling(replies) as (tracker, _):
        report = (await tracker.settled(6)).reports[0]
    # 1,001 blocks between the two known ones take 6,006 s.
    assert report.settled_at == datetime(2025, 12, 31, 20, tzinfo=UTC)
    assert report.settled_exact is False


async def test_without_any_known_neighbour_the_settlement_is_an_error_and_not_a_guess() -> None:
    replies = node()
    del replies[f"/chain-rpc/block?height={BOUNDARY}"]
    async with settling(replies) as (tracker, _):
        with pytest.raises(SourceError, match="block 10000 is pruned"):
            await tracker.settled(6)


async def test_an_answer_about_another_block_is_no_answer() -> None:
    replies = node(**{f"/chain-rpc/block?height={BOUNDARY}": block(HEIGHT - 1, "2025-12-31T23:59:53Z")})
    async with settling(replies) as (tracker, _):
        with pytest.raises(SourceError, match="block 10000 is pruned"):
            await tracker.settled(6)


@pytest.mark.parametrize(
    "bad",
    [
        summary(BOB, 6, None),
        summary(BOB, 6, "lots"),
        summary(BOB, 6, "-5"),
        summary(BOB, 6, str(10**19)),
        summary(BOB, 5),
        {"participant_id": BOB, "epoch_index": "6", "earned_coins": "5"},
        None,
    ],
)
async def test_an_amount_that_cannot_be_read_is_left_out_and_never_zero(bad: Any) -> None:
    async with settling(node(**{f"{SUMMARY}/6": summaries(summary(ALICE, 6), bad)})) as (tracker, _):
        settlement = await tracker.settled(6)
    assert [report.identifier for report in settlement.reports] == [ALICE]
    assert not settlement.complete


async def test_rows_that_are_no_hosts_are_neither_reported_nor_missed() -> None:
    rows = (summary(ALICE, 6), summary(BOB, 6), summary("gonkavaloper1x", 6))
    async with settling(node(**{f"{SUMMARY}/6": summaries(*rows)})) as (tracker, _):
        settlement = await tracker.settled(6)
    assert (len(settlement.reports), settlement.complete) == (2, True)


async def test_a_host_that_is_in_no_group_of_the_epoch_is_reported_too() -> None:
    rows = (summary(ALICE, 6), summary(BOB, 6), summary(CAROL, 6))
    async with settling(node(**{f"{SUMMARY}/6": summaries(*rows)})) as (tracker, _):
        assert {report.identifier for report in (await tracker.settled(6)).reports} == {ALICE, BOB, CAROL}


@pytest.mark.parametrize(
    "cut",
    [summaries(summary(ALICE, 6)), summaries(summary(ALICE, 6), summary(BOB, 6), pagination={"total": "118"})],
    ids=["a_member_of_the_group_is_missing", "the_nodes_own_count_says_so"],
)
async def test_a_cut_list_is_published_as_incomplete(cut: dict[str, Any]) -> None:
    async with settling(node(**{f"{SUMMARY}/6": cut})) as (tracker, _):
        assert not (await tracker.settled(6)).complete


async def test_the_next_base_url_is_asked_for_the_list_first() -> None:
    broken = node(**{f"{SUMMARY}/6": failing()})
    async with settling(broken, node()) as (tracker, first, _):
        assert (await tracker.settled(6)).complete
        assert first.count(f"{SUMMARY}/6/") == 0


@pytest.mark.parametrize("listed", [failing(), failing(404), summaries(), {}, b""])
async def test_without_the_list_the_hosts_of_the_epoch_are_asked_one_by_one(listed: Reply) -> None:
    async with settling(one_by_one(ALICE, BOB, **{f"{SUMMARY}/6": listed})) as (tracker, _):
        settlement = await tracker.settled(6)
    assert [(report.identifier, report.amount_ngonka) for report in settlement.reports] == [(ALICE, 1005), (BOB, 1005)]
    assert settlement.complete


async def test_without_group_data_the_hosts_come_from_the_epochs_active_set() -> None:
    replies = one_by_one(ALICE)
    replies[group_of(6)] = failing()
    replies["/v1/epochs/6/participants"] = active(member(ALICE), epoch=6)
    async with settling(replies) as (tracker, _):
        assert (await tracker.settled(6)).complete


async def test_what_one_by_one_could_not_be_read_is_left_out_and_asked_for_again() -> None:
    replies = one_by_one(ALICE, BOB, CAROL, **{f"{SUMMARY}/6/{BOB}": failing()})
    async with settling(replies) as (tracker, server):
        settlement = await tracker.settled(6)
        assert [report.identifier for report in settlement.reports] == [ALICE, CAROL]
        assert not settlement.complete
        server.replies[f"{SUMMARY}/6/{BOB}"] = {"epochPerformanceSummary": summary(BOB, 6)}
        server.requests.clear()
        again = await tracker.settled(6)
        assert {report.identifier for report in again.reports} == {ALICE, BOB, CAROL}
        assert again.complete
        assert server.count(f"{SUMMARY}/6/") == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"epochPerformanceSummary": summary(BOB, 6)},
        {"epochPerformanceSummary": summary(ALICE, 5)},
        {"epochPerformanceSummary": None},
        {},
        [],
    ],
)
async def test_the_summary_of_something_else_is_not_the_hosts(bad: Any) -> None:
    async with settling(one_by_one(ALICE, CAROL, **{f"{SUMMARY}/6/{ALICE}": bad})) as (tracker, _):
        settlement = await tracker.settled(6)
    assert [report.identifier for report in settlement.reports] == [CAROL]
    assert not settlement.complete


async def test_a_node_that_fails_three_times_in_a_row_is_left_and_the_next_goes_on() -> None:
    addresses = [f"gonka1host{number}" for number in range(6)]
    broken = one_by_one(*addresses)
    for address in addresses[1:]:
        broken[f"{SUMMARY}/6/{address}"] = failing()
    async with settling(broken, one_by_one(*addresses)) as (tracker, first, second):
        settlement = await tracker.settled(6)
        assert settlement.complete
        assert first.count(f"{SUMMARY}/6/") == 4
        assert second.count(f"{SUMMARY}/6/") == 5


async def test_hosts_without_a_summary_do_not_stop_the_others() -> None:
    addresses = [f"gonka1host{number}" for number in range(6)]
    replies = one_by_one(*addresses)
    for address in addresses[:5]:
        del replies[f"{SUMMARY}/6/{address}"]
    async with settling(replies) as (tracker, _):
        settlement = await tracker.settled(6)
    assert [report.identifier for report in settlement.reports] == [addresses[5]]
    assert not settlement.complete


async def test_when_nothing_can_be_read_it_is_an_error() -> None:
    async with settling(one_by_one(ALICE, **{f"{SUMMARY}/6/{ALICE}": failing()})) as (tracker, _):
        with pytest.raises(SourceError):
            await tracker.settled(6)


async def test_a_restatement_is_read_anew() -> None:
    async with settling(node()) as (tracker, server):
        await tracker.settled(6)
        server.replies[f"{SUMMARY}/6"] = summaries(summary(ALICE, 6, "999"), summary(BOB, 6))
        assert (await tracker.settled(6)).reports[0].amount_ngonka == 1004


async def test_a_restatement_is_read_anew_one_by_one_too_where_a_host_never_had_a_summary() -> None:
    replies = one_by_one(ALICE, BOB)
    del replies[f"{SUMMARY}/6/{BOB}"]
    async with settling(replies) as (tracker, server):
        assert not (await tracker.settled(6)).complete
        an_epoch_later = HEIGHT + 15_391
        server.replies["/chain-rpc/status"] = status(an_epoch_later, "2026-01-01T00:00:00Z")
        server.replies[f"{SUMMARY}/6/{ALICE}"] = {"epochPerformanceSummary": summary(ALICE, 6, "999")}
        assert [report.amount_ngonka for report in (await tracker.settled(6)).reports] == [1004]


async def test_a_node_that_catches_up_settles_nothing() -> None:
    replies = node(**{"/chain-rpc/status": status(HEIGHT, "2026-01-01T00:00:00Z", catching_up=True)})
    async with settling(replies) as (tracker, _):
        with pytest.raises(SourceError, match="is catching up"):
            await tracker.settled(6)
