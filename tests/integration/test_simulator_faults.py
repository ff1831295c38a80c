"""Every fault switch of the simulator, as a client sees it."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import aiohttp
import pytest

from services.simulator.app import Simulator, running
from services.simulator.clock import VirtualClock
from services.simulator.world import WorldSettings

START = datetime(2026, 10, 9, 12, 0, tzinfo=UTC)
CURRENT = "/api/v1/inference/current"
ACTIVE = "/v1/epochs/current/participants"


class Client:
    """Reads of one simulator, and its switches."""

    def __init__(self, simulator: Simulator, clock: VirtualClock, session: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.clock = clock
        self.session = session

    def read(self, path: str, **options: Any) -> Any:
        return self.session.get(self.simulator.base_url + path, allow_redirects=False, **options)

    async def status(self, path: str) -> int:
        async with self.read(path) as response:
            return int(response.status)

    async def body(self, path: str) -> Any:
        async with self.read(path) as response:
            return await response.json()

    async def fault(self, **fault: Any) -> None:
        url = self.simulator.base_url + "/_simulator/faults"
        async with self.session.post(url, json=fault) as response:
            assert response.status == 201, await response.text()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    clock = VirtualClock(START)
    async with running(WorldSettings(hosts=30), clock) as simulator, aiohttp.ClientSession() as session:
        yield Client(simulator, clock, session)


@pytest.mark.parametrize("kind", ["429", "503"])
async def test_a_refusal_says_when_to_come_back(client: Client, kind: str) -> None:
    await client.fault(kind=kind, retry_after="7")
    async with client.read(CURRENT) as response:
        assert (response.status, response.headers["Retry-After"]) == (int(kind), "7")


async def test_a_refusal_may_say_nothing_about_coming_back(client: Client) -> None:
    await client.fault(kind="429", retry_after=None)
    async with client.read(CURRENT) as response:
        assert "Retry-After" not in response.headers


async def test_a_server_error_is_a_500(client: Client) -> None:
    await client.fault(kind="500")
    assert await client.status(CURRENT) == 500


async def test_an_empty_list_is_a_good_answer_without_rows(client: Client) -> None:
    await client.fault(kind="empty_list")
    assert (await client.body(CURRENT))["participants"] == []
    active = (await client.body(ACTIVE))["active_participants"]
    assert active["participants"] == []
    assert active["epoch_id"]


async def test_a_truncated_list_is_a_good_answer_with_fewer_rows(client: Client) -> None:
    whole = await client.body(CURRENT)
    await client.fault(kind="truncated_list", keep=2)
    assert await client.body(CURRENT) == whole | {"participants": whole["participants"][:2]}


async def test_missing_rows_leave_no_trace_in_the_answer(client: Client) -> None:
    whole = await client.body(CURRENT)
    await client.fault(kind="missing_rows", every=3)
    rows = whole["participants"]
    assert await client.body(CURRENT) == whole | {"participants": [rows[i] for i in range(len(rows)) if i % 3 != 2]}


async def test_a_wrong_total_is_wrong_by_so_much_and_where_there_is_one(client: Client) -> None:
    past = "/api/v1/inference/epochs/300"
    right, current = await client.body(past), await client.body(CURRENT)
    await client.fault(kind="wrong_total", off_by_gnk=-5)
    total = right["total_assigned_rewards_gnk"] - 5
    assert await client.body(past) == right | {"total_assigned_rewards_gnk": total}
    assert await client.body(CURRENT) == current


async def test_a_truncated_body_ends_before_it_should(client: Client) -> None:
    await client.fault(kind="truncated_body")
    async with client.read(CURRENT) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_timeout_never_answers(client: Client) -> None:
    await client.fault(kind="timeout", path=CURRENT)
    with pytest.raises(TimeoutError):
        await client.session.get(client.simulator.base_url + CURRENT, timeout=aiohttp.ClientTimeout(total=0.2))
    assert await client.status(ACTIVE) == 200


async def test_the_simulator_stops_at_once_although_a_client_waits_for_ever() -> None:
    async with aiohttp.ClientSession() as session:
        async with running(WorldSettings(hosts=5)) as simulator:
            client = Client(simulator, VirtualClock(START), session)
            await client.fault(kind="timeout")
            waiting = asyncio.create_task(client.status(CURRENT))
            async with asyncio.timeout(5):
                while not simulator.requests:  # noqa: ASYNC110 -- the server counts, nobody tells
                    await asyncio.sleep(0.01)
            began = monotonic()
        assert monotonic() - began < 1
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_slow_answer_comes_late(client: Client) -> None:
    await client.fault(kind="slow", delay_seconds=0.3)
    began = monotonic()
    assert await client.status(CURRENT) == 200
    assert monotonic() - began >= 0.3


async def test_a_stale_answer_keeps_the_time_and_height_it_had(client: Client) -> None:
    before = await client.body(CURRENT)
    await client.fault(kind="stale", path="/api/*")
    client.clock.advance(timedelta(minutes=10))
    assert await client.body(CURRENT) == before
    assert (await client.body("/v1/status"))["block_height"] > before["height"]


async def test_a_node_says_that_it_is_catching_up(client: Client) -> None:
    await client.fault(kind="catching_up")
    assert (await client.body("/chain-rpc/status"))["result"]["sync_info"]["catching_up"] is True


async def test_a_height_goes_back(client: Client) -> None:
    before = (await client.body("/v1/status"))["block_height"]
    await client.fault(kind="older_height", back_seconds=3600, count=1)
    older = (await client.body("/v1/status"))["block_height"]
    after = (await client.body("/v1/status"))["block_height"]
    assert older < before == after


async def test_a_redirect_points_to_another_host(client: Client) -> None:
    await client.fault(kind="redirect", location="http://169.254.169.254")
    async with client.read(CURRENT) as response:
        assert response.status == 302
        assert response.headers["Location"] == f"http://169.254.169.254{CURRENT}"


async def test_a_huge_body_is_as_large_as_asked_and_still_json(client: Client) -> None:
    await client.fault(kind="huge_body", size_bytes=3_000_000)
    async with client.read(CURRENT) as response:
        body = await response.read()
    assert len(body) >= 3_000_000
    assert json.loads(body) == {"participants": []}


async def test_pruned_heights_are_an_error_and_newer_ones_are_not(client: Client) -> None:
    height = (await client.body("/v1/status"))["block_height"]
    await client.fault(kind="pruned", keep_blocks=100)
    assert await client.status(f"/chain-rpc/block?height={height - 99}") == 200
    async with client.read(f"/chain-rpc/block?height={height - 101}") as response:
        assert response.status == 500
        body = await response.json()
    assert body["error"]["data"] == f"height {height - 101} is not available, lowest height is {height - 100}"


async def test_pruned_state_is_not_served(client: Client) -> None:
    await client.fault(kind="pruned")
    path = "/chain-api/productscience/inference/inference/participant"
    async with client.read(path, headers={"X-Cosmos-Block-Height": "4000000"}) as response:
        assert response.status == 500
        assert "no commit info found" in (await response.json())["message"]


async def test_a_fault_hits_only_the_paths_that_its_glob_matches(client: Client) -> None:
    await client.fault(kind="500", path="/v1/*")
    assert await client.status("/v1/epochs/latest") == 500
    assert await client.status(CURRENT) == 200


async def test_a_fault_with_a_count_goes_off_by_itself(client: Client) -> None:
    await client.fault(kind="500", count=2)
    assert [await client.status(CURRENT) for _ in range(4)] == [500, 500, 200, 200]


async def test_a_fault_with_seconds_goes_off_by_the_simulators_clock(client: Client) -> None:
    await client.fault(kind="500", seconds=30)
    client.clock.advance(timedelta(seconds=29))
    assert await client.status(CURRENT) == 500
    client.clock.advance(timedelta(seconds=1))
    assert await client.status(CURRENT) == 200


async def test_a_fault_with_a_probability_hits_some_requests(client: Client) -> None:
    await client.fault(kind="500", probability=0.5)
    statuses = [await client.status("/v1/status") for _ in range(40)]
    assert 8 < statuses.count(500) < 32


async def test_the_state_names_the_faults_and_a_delete_turns_them_off(client: Client) -> None:
    await client.fault(kind="500", path="/v1/*")
    await client.status("/v1/status")
    (fault,) = (await client.body("/_simulator/state"))["faults"]
    assert (fault["kind"], fault["path"], fault["hits"]) == ("500", "/v1/*", 1)
    async with client.session.delete(client.simulator.base_url + "/_simulator/faults") as response:
        assert response.status == 204
    assert await client.status("/v1/status") == 200
    assert (await client.body("/_simulator/state"))["faults"] == []


@pytest.mark.parametrize("wrong", ['{"kind": "earthquake"}', '{"kind": "500", "pth": "*"}', "not json"])
async def test_an_unknown_fault_is_refused_with_a_sentence(client: Client, wrong: str) -> None:
    url = client.simulator.base_url + "/_simulator/faults"
    async with client.session.post(url, data=wrong) as response:
        assert response.status == 422
        assert (await response.json())["detail"].endswith(".")
