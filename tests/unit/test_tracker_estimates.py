"""Estimates of the running epoch: some hosts a poll, by turns, and never a zero for something unknown."""

from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from services.ingest.trackers.estimates import METHOD
from services.ingest.trackers.gonka_api import GonkaApi
from tests.captured import INFERENCE, Reply, latest, serving, status
from tests.unit.ingest_fakes import (
    ALICE,
    BOB,
    ManualClock,
    a_fetcher,
    a_source,
    active,
    member,
    participant,
    participants,
)

ESTIMATE = f"{INFERENCE}/estimate_bitcoin_reward/"


def estimate(work: Any = "7", reward: Any = "48552031736571", epoch: Any = None) -> Reply:
    return {"settle_amount": {"epoch_index": epoch, "work_coins": work, "reward_coins": reward, "participant": "x"}}


def node(running: int, **changes: Reply) -> dict[str, Reply]:
    replies: dict[str, Reply] = {
        "/chain-rpc/status": status(12_000, "2025-12-31T23:59:58Z"),
        "/v1/epochs/latest": latest(running, 10_000),
        "/v1/epochs/current/participants": active(member(ALICE), member(BOB)),
        f"{INFERENCE}/participant": participants(participant(ALICE), participant(BOB)),
    }
    return replies | changes


async def polls(replies: dict[str, Reply], times: int = 1, **more: Any) -> list[Any]:
    clock = ManualClock()
    async with serving(replies) as server:
        tracker = GonkaApi(a_source(server.url, **more), a_fetcher(clock), clock)
        try:
            return [await tracker.poll() for _ in range(times)]
        finally:
            await tracker.aclose()


@pytest.fixture
async def running() -> int:
    (poll,) = await polls(node(7))
    return int(poll.epoch)


async def test_an_estimate_is_a_report_that_is_not_final_and_says_its_method(running: int) -> None:
    (poll,) = await polls(
        node(running, **{ESTIMATE + ALICE: estimate(epoch=str(running)), ESTIMATE + BOB: estimate("0", "0", running)})
    )
    alice, bob = poll.estimates
    assert (alice.identifier, alice.kind, alice.period, alice.final, alice.method) == (
        ALICE,
        "epoch",
        running,
        False,
        METHOD,
    )
    assert (alice.amount, alice.work_ngonka, alice.reward_ngonka) == (48_552_031_736_578, 7, 48_552_031_736_571)
    assert (alice.settled_at, alice.observed_at) == (None, datetime(2025, 12, 31, 23, 59, 58, tzinfo=UTC))
    assert bob.amount == 0, "the chain says that it would be paid nothing"


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 1},
        {"work": None},
        {"reward": None},
        {"reward": "-1"},
    ],
    ids=["another_epoch", "no_work", "no_reward", "negative"],
)
async def test_what_is_unknown_or_of_another_epoch_is_left_out(running: int, changes: dict[str, Any]) -> None:
    replies = {ESTIMATE + ALICE: estimate(**{"epoch": running} | changes), ESTIMATE + BOB: estimate(epoch=running)}
    (poll,) = await polls(node(running, **replies))
    assert [report.identifier for report in poll.estimates] == [BOB]


async def test_hosts_are_asked_by_turns_within_the_budget(running: int) -> None:
    replies = {ESTIMATE + ALICE: estimate(epoch=running), ESTIMATE + BOB: estimate(epoch=running)}
    found = await polls(node(running, **replies), 3, requests_per_minute=6)
    assert [[report.identifier for report in poll.estimates] for poll in found] == [[ALICE], [BOB], [ALICE]]


async def test_a_node_without_estimates_still_gives_its_poll(running: int) -> None:
    (poll,) = await polls(node(running))
    assert poll.estimates == ()
    assert {reading.identifier for reading in poll.readings} == {ALICE, BOB}
    (poll,) = await polls(node(running, **{ESTIMATE + ALICE: _fails}))
    assert poll.estimates == ()
    assert len(poll.readings) == 2


async def _fails(_: web.Request) -> web.Response:
    return web.Response(status=500)
