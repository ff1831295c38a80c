"""The simulator's replies, by shapes written down by hand from recorded ones."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from services.simulator.app import Simulator, running
from services.simulator.chance import draw
from services.simulator.clock import VirtualClock
from services.simulator.payments import Publication
from services.simulator.timeline import FIRST_EPOCH
from services.simulator.world import WorldSettings

START = datetime(2026, 10, 9, 12, 0, tzinfo=UTC)
INFERENCE = "/chain-api/productscience/inference/inference"

STATS_KEYS = {
    "inference_count",
    "missed_requests",
    "earned_coins",
    "rewarded_coins",
    "burned_coins",
    "validated_inferences",
    "invalidated_inferences",
}


class Client:
    """Reads of one simulator, on its virtual clock."""

    def __init__(self, simulator: Simulator, clock: VirtualClock, session: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.world = simulator.world
        self.clock = clock
        self.session = session

    async def get(self, path: str, status: int = 200, **options: Any) -> Any:
        async with self.session.get(self.simulator.base_url + path, **options) as response:
            body = await response.json()
            assert response.status == status, body
            return body

    async def summaries(self, epoch: int) -> dict[str, dict[str, Any]]:
        rows = (await self.get(f"{INFERENCE}/epoch_performance_summary/{epoch}"))["epochPerformanceSummary"]
        return {row["participant_id"]: row for row in rows}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    clock = VirtualClock(START)
    async with running(WorldSettings(hosts=60), clock) as simulator, aiohttp.ClientSession() as session:
        yield Client(simulator, clock, session)


def amounts(rows: dict[str, dict[str, Any]]) -> dict[str, int]:
    return {address: int(row["earned_coins"]) + int(row["rewarded_coins"]) for address, row in rows.items()}


def shape(value: Any) -> Any:
    """The types of a JSON value: of every key of an object, of a list's first item."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value)


async def test_epochs_latest_has_the_recorded_shape(client: Client) -> None:
    epoch = next(n for n in range(client.world.at(START).latest_epoch, 400) if not drifts(client, n))
    client.clock.now = client.world.timeline.settled_at(epoch) - timedelta(seconds=5)
    body = await client.get("/v1/epochs/latest")
    stages: dict[str, Any] = dict.fromkeys(
        (
            "epoch_index",
            "poc_start",
            "poc_generation_wind_down",
            "poc_generation_end",
            "poc_validation_start",
            "poc_validation_wind_down",
            "poc_validation_end",
            "set_new_validators",
            "claim_money",
            "inference_validation_cutoff",
            "next_poc_start",
        ),
        int,
    )
    window = {"start": int, "end": int}
    stages |= {"poc_exchange_window": window, "poc_validation_exchange_window": window}
    params: dict[str, Any] = dict.fromkeys(body["epoch_params"], int)
    params["poc_slot_allocation"] = {"value": int, "exponent": int}
    assert shape(body) == {
        "block_height": int,
        "latest_epoch": {"index": int, "poc_start_block_height": int},
        "phase": str,
        "epoch_stages": stages,
        "next_epoch_stages": stages,
        "epoch_params": params,
        "is_confirmation_poc_active": bool,
    }
    assert body["phase"] == "Inference"
    assert body["epoch_params"]["epoch_length"] == 15391
    assert body["epoch_stages"]["next_poc_start"] == body["next_epoch_stages"]["poc_start"]


async def test_stages_are_where_they_were_recorded_for_an_epoch_of_185_blocks(client: Client) -> None:
    client.clock.now = client.world.timeline.block_time(3859105 + 100)
    stages = (await client.get("/v1/epochs/latest"))["epoch_stages"]
    offsets = {name: value - 3859105 for name, value in stages.items() if isinstance(value, int)}
    assert offsets == {
        "epoch_index": 250 - 3859105,
        "poc_start": 0,
        "poc_generation_wind_down": 48,
        "poc_generation_end": 60,
        "poc_validation_start": 65,
        "poc_validation_wind_down": 161,
        "poc_validation_end": 185,
        "set_new_validators": 305,
        "claim_money": 306,
        "inference_validation_cutoff": 15311,
        "next_poc_start": 15391,
    }


def drifts(client: Client, epoch: int) -> bool:
    """Whether an epoch is answered in the shape of chain version 0.2.15."""
    return draw(client.world.settings.seed, "api drift", epoch) < 0.25


async def test_some_epochs_answer_nested_parameters_and_strings(client: Client) -> None:
    epoch = next(n for n in range(FIRST_EPOCH, 400) if drifts(client, n))
    client.clock.now = client.world.timeline.settled_at(epoch - 1) + timedelta(seconds=30)
    params = (await client.get("/v1/epochs/latest"))["epoch_params"]
    active = (await client.get(f"/v1/epochs/{epoch}/participants"))["active_participants"]
    assert params["epoch_params"]["epoch_length"] == "15391"
    assert active["epoch_id"] == str(epoch)


async def test_active_participants_have_the_recorded_shape(client: Client) -> None:
    epoch = next(n for n in range(FIRST_EPOCH, 400) if not drifts(client, n))
    body = await client.get(f"/v1/epochs/{epoch}/participants")
    members = client.world.epoch(epoch).members
    plain = next(a for a, m in members.items() if not m.host.answers_strings and all(m.node_weights))
    row = next(row for row in body["active_participants"]["participants"] if row["index"] == plain)
    assert shape(row) == {
        "index": str,
        "validator_key": str,
        "weight": int,
        "inference_url": str,
        "models": [str],
        "seed": {"participant": str, "epoch_index": int, "signature": str},
        "ml_nodes": [{"ml_nodes": [{"node_id": str, "poc_weight": int, "timeslot_allocation": [bool]}]}],
    }
    nodes = [node for group in row["ml_nodes"] for node in group["ml_nodes"]]
    assert row["weight"] == sum(node["poc_weight"] for node in nodes) > 0
    assert len(row["ml_nodes"]) == len(row["models"])
    assert {key: body["active_participants"][key] for key in ("epoch_id", "epoch_group_id")} == {
        "epoch_id": epoch,
        "epoch_group_id": epoch,
    }
    assert shape(body["validators"][0]) == {
        "address": str,
        "pub_key": str,
        "voting_power": int,
        "proposer_priority": int,
    }
    assert set(body) == {
        "active_participants",
        "addresses",
        "active_participants_bytes",
        "proof_ops",
        "validators",
        "block",
        "excluded_participants",
    }


async def test_some_hosts_weights_are_strings(client: Client) -> None:
    rows = (await client.get("/v1/epochs/current/participants"))["active_participants"]["participants"]
    assert {type(row["weight"]) for row in rows} == {int, str}


async def test_the_current_participants_are_those_of_the_effective_epoch(client: Client) -> None:
    epoch = client.world.at(START).running_epoch + 1
    client.clock.now = client.world.timeline.settled_at(epoch - 1) + timedelta(milliseconds=1)
    just_settled = await client.get("/v1/epochs/current/participants")
    client.clock.advance(timedelta(seconds=1))
    effective = await client.get("/v1/epochs/current/participants")
    assert int(just_settled["active_participants"]["epoch_id"]) == epoch - 1
    assert int(effective["active_participants"]["epoch_id"]) == epoch


async def test_an_epoch_without_participants_yet_is_not_found(client: Client) -> None:
    await client.get(f"/v1/epochs/{client.world.at(START).running_epoch + 1}/participants", 404)


async def test_participants_of_the_chain_have_numbers_of_64_bits_as_strings(client: Client) -> None:
    body = await client.get(f"{INFERENCE}/participant?pagination.limit=10000")
    row = body["participant"][0]
    assert set(row.pop("current_epoch_stats")) >= STATS_KEYS
    assert shape(row) == {
        "index": str,
        "address": str,
        "weight": int,
        "join_time": str,
        "join_height": str,
        "last_inference_time": str,
        "inference_url": str,
        "status": str,
        "coin_balance": str,
        "validator_key": str,
        "consecutive_invalid_inferences": str,
        "worker_public_key": str,
        "epochs_completed": int,
    }
    assert body["pagination"] == {"next_key": None, "total": "0"}
    assert body["block_height"] == str(client.world.at(START).height)
    assert {row["status"] for row in body["participant"]} >= {"ACTIVE", "RAMPING"}


async def test_live_rewards_are_zero_all_epoch_while_earnings_grow(client: Client) -> None:
    earned = []
    client.clock.now = client.world.timeline.settled_at(client.world.at(START).running_epoch)
    for _ in range(3):
        client.clock.advance(timedelta(seconds=15))
        rows = (await client.get(f"{INFERENCE}/participant?pagination.limit=10000"))["participant"]
        assert {row["current_epoch_stats"]["rewarded_coins"] for row in rows} == {"0"}
        earned.append(sum(int(row["current_epoch_stats"]["earned_coins"]) for row in rows))
    assert 0 < earned[0] < earned[1] < earned[2]


async def test_pages_of_participants_add_up_to_the_whole_list(client: Client) -> None:
    whole = (await client.get(f"{INFERENCE}/participant?pagination.limit=1000"))["participant"]
    paged: list[Any] = []
    params = {"pagination.limit": "17"}
    while True:
        body = await client.get(f"{INFERENCE}/participant", params=params)
        paged += body["participant"]
        if body["pagination"]["next_key"] is None:
            break
        params["pagination.key"] = body["pagination"]["next_key"]
    assert paged == whole


async def test_a_page_has_100_rows_unless_told_otherwise_and_counts_them_when_asked() -> None:
    async with running(WorldSettings(hosts=150), VirtualClock(START)) as simulator, aiohttp.ClientSession() as session:
        client = Client(simulator, VirtualClock(START), session)
        body = await client.get(f"{INFERENCE}/participant?pagination.count_total=true")
    assert len(body["participant"]) == 100
    assert body["pagination"]["total"] == str(len(simulator.world.listed(simulator.world.at(START))))


async def test_a_made_up_pagination_key_is_refused(client: Client) -> None:
    await client.get(f"{INFERENCE}/participant?pagination.key=***", 400)


async def test_one_summary_stands_in_an_object_and_all_of_them_in_a_list(client: Client) -> None:
    rows = await client.summaries(300)
    address = next(iter(rows))
    alone = await client.get(f"{INFERENCE}/epoch_performance_summary/300/{address}")
    assert alone == {"epochPerformanceSummary": rows[address]}
    assert shape(alone["epochPerformanceSummary"]) == {
        **dict.fromkeys(("epoch_index", "participant_id", *STATS_KEYS), str),
        "claimed": bool,
    }


async def test_an_epoch_that_runs_has_no_summaries(client: Client) -> None:
    epoch = client.world.at(START).running_epoch
    address = client.world.hosts[0].address
    assert await client.summaries(epoch) == {}
    body = await client.get(f"{INFERENCE}/epoch_performance_summary/{epoch}/{address}", 404)
    assert body == {"code": 5, "message": "not found", "details": []}


async def test_summaries_of_settled_epochs_add_up_to_what_was_paid(client: Client) -> None:
    first, last = FIRST_EPOCH, FIRST_EPOCH + 9
    truth = await client.get(f"/_simulator/payments?from_epoch={first}&to_epoch={last}")
    paid = {(row["epoch"], row["address"]): int(row["amount_ngonka"]) for row in truth}
    shown = {
        (epoch, address): amount
        for epoch in range(first, last + 1)
        for address, amount in amounts(await client.summaries(epoch)).items()
    }
    assert shown == paid
    assert sum(paid.values()) > 0


async def test_late_zeros_become_the_true_amounts(client: Client) -> None:
    epoch = next(n for n in range(client.world.at(START).running_epoch, 400) if not client.world.epoch(n).restated)
    client.clock.now = client.world.timeline.settled_at(epoch)
    zeros = amounts(await client.summaries(epoch))
    client.clock.now = client.world.published_at(epoch)
    paid = amounts(await client.summaries(epoch))
    assert set(zeros.values()) == {0}
    assert paid == {row.address: row.amount_ngonka for row in client.world.payments(epoch)}


async def test_a_restatement_changes_the_summaries_once(client: Client) -> None:
    running_epoch = client.world.at(START).running_epoch
    epoch = next(n for n in range(running_epoch, running_epoch + 100) if client.world.epoch(n).restated)
    client.clock.now = client.world.published_at(epoch)
    before = amounts(await client.summaries(epoch))
    published = await client.get(f"/_simulator/payments?from_epoch={epoch}&to_epoch={epoch}&published=true")
    restated_at = client.world.restated_at(epoch)
    assert restated_at
    client.clock.now = restated_at
    after = amounts(await client.summaries(epoch))
    assert before != after
    assert before == {row["address"]: int(row["amount_ngonka"]) for row in published}
    assert after == {row.address: row.amount_ngonka for row in client.world.payments(epoch)}


async def test_group_data_tells_the_settlement_of_the_epoch_before(client: Client) -> None:
    data = (await client.get(f"{INFERENCE}/epoch_group_data/301"))["epoch_group_data"]
    assert int(data["effective_block_height"]) - 120 == client.world.timeline.settlement_height(300)
    assert data["epoch_index"] == "301"
    assert data["epoch_group_id"] != "301"
    assert shape(data["validation_weights"][0]) == {
        "member_address": str,
        "weight": str,
        "confirmation_weight": str,
        "reputation": int,
        "voting_power": str,
        "ml_nodes": [],
    }
    assert int(data["total_weight"]) == sum(int(row["weight"]) for row in data["validation_weights"])


async def test_a_models_sub_group_has_no_effective_height(client: Client) -> None:
    whole = (await client.get(f"{INFERENCE}/epoch_group_data/301"))["epoch_group_data"]
    path = f"{INFERENCE}/epoch_group_data/301"
    part = await client.get(path, params={"model_id": whole["sub_group_models"][0]})
    assert part["epoch_group_data"]["effective_block_height"] == "0"
    assert 0 < len(part["epoch_group_data"]["validation_weights"]) < len(whole["validation_weights"])


async def test_group_data_of_an_epoch_to_come_is_not_found(client: Client) -> None:
    await client.get(f"{INFERENCE}/epoch_group_data/9999", 404)


async def test_hardware_has_the_recorded_shape_and_may_be_empty(client: Client) -> None:
    whole = (await client.get(f"{INFERENCE}/hardware_nodes_all"))["nodes"]
    rows = [row for nodes in whole for row in nodes["hardware_nodes"]]
    reported = next(nodes for nodes in whole if any(row["hardware"] for row in nodes["hardware_nodes"]))
    alone = await client.get(f"{INFERENCE}/hardware_nodes/{reported['participant']}")
    assert alone == {"nodes": reported}
    assert shape(next(row for row in rows if row["hardware"])) == {
        "local_id": str,
        "status": str,
        "models": [str],
        "hardware": [{"type": str, "count": int}],
        "host": str,
        "port": str,
    }
    assert any(not row["hardware"] for row in rows)


async def test_all_hardware_still_has_hosts_that_left(client: Client) -> None:
    whole = {nodes["participant"] for nodes in (await client.get(f"{INFERENCE}/hardware_nodes_all"))["nodes"]}
    listed = (await client.get(f"{INFERENCE}/participant?pagination.limit=1000"))["participant"]
    assert whole - {row["address"] for row in listed} == set(client.world.former_addresses)


async def test_a_reward_estimate_is_for_members_of_the_running_epoch_only(client: Client) -> None:
    members = client.world.epoch(client.world.at(START).running_epoch).members
    member = next(iter(members))
    stranger = next(host.address for host in client.world.hosts if host.address not in members)
    body = await client.get(f"{INFERENCE}/estimate_bitcoin_reward/{member}")
    assert shape(body["settle_amount"]) == dict.fromkeys(
        ("participant", "epoch_index", "reward_coins", "work_coins", "seed_signature"), str
    )
    await client.get(f"{INFERENCE}/estimate_bitcoin_reward/{stranger}", 404)


async def test_parameters_name_the_emission_and_the_epochs_length(client: Client) -> None:
    params = (await client.get(f"{INFERENCE}/params"))["params"]
    assert params["epoch_params"]["epoch_length"] == "15391"
    assert params["bitcoin_reward_params"]["initial_epoch_reward"] == "323000000000000"
    assert await client.get(f"{INFERENCE}/get_current_epoch") == {"epoch": str(client.world.at(START).effective_epoch)}


async def test_validators_have_jail_flags(client: Client) -> None:
    path = "/chain-api/cosmos/staking/v1beta1/validators?pagination.limit=1000"
    rows = (await client.get(path))["validators"]
    for _ in range(20):
        client.clock.advance(timedelta(minutes=20))
        rows += (await client.get(path))["validators"]
    assert {row["jailed"] for row in rows} == {True, False}
    assert all(row["operator_address"].startswith("gonkavaloper1") for row in rows)


async def test_the_rpc_tells_height_and_time_with_nine_digits(client: Client) -> None:
    sync = (await client.get("/chain-rpc/status"))["result"]["sync_info"]
    height = client.world.at(START).height
    header = (await client.get(f"/chain-rpc/block?height={height}"))["result"]["block"]["header"]
    assert sync["latest_block_height"] == header["height"] == str(height)
    assert sync["latest_block_time"] == header["time"]
    assert sync["catching_up"] is False
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", header["time"])
    assert header["time"].startswith(f"{client.world.timeline.block_time(height):%Y-%m-%dT%H:%M:%S.%f}")


async def test_a_block_to_come_is_a_json_rpc_error(client: Client) -> None:
    body = await client.get("/chain-rpc/block?height=99999999", 500)
    assert "must be less than or equal to" in body["error"]["data"]


async def test_the_gateway_answers_for_the_height_that_is_asked_for(client: Client) -> None:
    height = client.world.timeline.settlement_height(300) + 5000
    headers = {"X-Cosmos-Block-Height": str(height)}
    body = await client.get(f"{INFERENCE}/participant?pagination.limit=1", headers=headers)
    assert body["block_height"] == str(height)


async def test_the_trackers_reply_has_the_recorded_shape(client: Client) -> None:
    body = await client.get("/api/v1/inference/current")
    members = client.world.epoch(client.world.at(START).effective_epoch).members
    rows = {row["address"]: row for row in body.pop("participants")}
    assert rows.keys() == members.keys()
    plain = next(a for a, m in members.items() if m.host.validates and not m.host.answers_strings and m.weight)
    row = rows[plain]
    assert shape(row.pop("current_epoch_stats")) == dict.fromkeys(STATS_KEYS, str)
    assert set(row.pop("ml_nodes_map")) <= {node.name for node in members[plain].host.ml_nodes}
    assert type(row["is_jailed"]) is type(row["ready_to_unjail"]) is bool
    assert row.keys() == {
        "index",
        "address",
        "weight",
        "validator_key",
        "inference_url",
        "status",
        "models",
        "is_jailed",
        "jailed_until",
        "ready_to_unjail",
        "node_healthy",
        "node_health_checked_at",
        "moniker",
        "identity",
        "keybase_username",
        "keybase_picture_url",
        "website",
        "validator_consensus_key",
        "consensus_key_mismatch",
        "seed_signature",
        "weight_to_confirm",
        "confirmation_weight",
        "confirmation_poc_ratio",
        "participant_status",
        "missed_rate",
        "invalidation_rate",
    }
    assert shape(body) == {
        "epoch_id": int,
        "height": int,
        "cached_at": str,
        "is_current": bool,
        "total_assigned_rewards_gnk": type(None),
        "current_block_height": int,
        "current_block_timestamp": str,
        "avg_block_time": float,
        "next_poc_start_block": int,
        "set_new_validators_block": int,
    }


async def test_the_trackers_times_are_naive_and_its_block_time_has_nine_digits(client: Client) -> None:
    body = await client.get("/api/v1/inference/current")
    naive = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}"
    assert re.fullmatch(naive, body["cached_at"])
    assert re.fullmatch(naive, body["participants"][0]["node_health_checked_at"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", body["current_block_timestamp"])


async def test_hosts_without_a_validator_have_no_jail_flag(client: Client) -> None:
    rows = (await client.get("/api/v1/inference/current"))["participants"]
    unknown = [row for row in rows if row["is_jailed"] is None]
    assert unknown
    assert {row["ready_to_unjail"] for row in unknown} == {None}


async def test_the_tracker_computes_its_reply_once_in_a_cadence(client: Client) -> None:
    client.clock.now = START + timedelta(seconds=1)
    first = await client.get("/api/v1/inference/current")
    client.clock.advance(timedelta(seconds=4))
    same = await client.get("/api/v1/inference/current")
    client.clock.advance(timedelta(seconds=1))
    later = await client.get("/api/v1/inference/current")
    assert first == same
    assert first["cached_at"] == "2026-10-09T12:00:00.300851"
    assert later["cached_at"] == "2026-10-09T12:00:05.300851"


async def test_a_past_epoch_of_the_tracker_tells_the_whole_reward_in_gnk(client: Client) -> None:
    body = await client.get("/api/v1/inference/epochs/300")
    reward = sum(row.reward_ngonka for row in client.world.published(300, Publication.FINAL))
    assert body["is_current"] is False
    assert body["total_assigned_rewards_gnk"] == reward // 10**9


async def test_a_trackers_participant_has_six_rewards_in_whole_gnk(client: Client) -> None:
    host = next(h for h in client.world.hosts if h.presence == 1 and h.joins < FIRST_EPOCH)
    body = await client.get(f"/api/v1/participants/{host.address}?epoch_id=320")
    paid = {row.address: row for row in client.world.payments(319)}[host.address]
    assert set(body) == {"participant", "rewards", "seed", "warm_keys", "ml_nodes"}
    assert [row["epoch_id"] for row in body["rewards"]] == [320, 319, 318, 317, 316, 315]
    assert body["rewards"][1]["assigned_reward_gnk"] == paid.reward_ngonka // 10**9
    assert {"local_id", "status", "models", "hardware", "host", "port", "poc_weight"} == set(body["ml_nodes"][0])


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/inference/epochs/9999", "/api/v1/participants/gonka1nobody"])
async def test_what_the_tracker_does_not_have_is_a_404_with_a_detail(client: Client, path: str) -> None:
    assert set(await client.get(path, 404)) == {"detail"}


async def test_gonkascan_answers_the_same_with_places_on_some_rows(client: Client) -> None:
    plain = (await client.get("/api/v1/inference/current"))["participants"]
    placed = (await client.get("/gonkascan/api/v1/inference/current"))["participants"]
    assert [{key: row[key] for key in plain[0]} for row in placed] == plain
    assert 0 < sum("country" in row for row in placed) < len(placed)


async def test_requests_are_counted_by_route(client: Client) -> None:
    for epoch in (300, 301):
        await client.summaries(epoch)
    await client.get("/nothing", 404)
    state = await client.get("/_simulator/state")
    assert state["requests"] == {f"{INFERENCE}/epoch_performance_summary/{{epoch}}": 2, "unknown": 1}
    assert state["now"] == "2026-10-09T12:00:00+00:00"
    assert state["epoch"] == state["settled_epoch"] + 1
    assert state["faults"] == []


async def test_the_truth_has_exact_amounts_as_strings_and_the_settlements_block_time(client: Client) -> None:
    row = (await client.get("/_simulator/payments?from_epoch=300&to_epoch=300"))[0]
    height = client.world.timeline.settlement_height(300)
    header = (await client.get(f"/chain-rpc/block?height={height}"))["result"]["block"]["header"]
    assert set(row) == {
        "epoch",
        "address",
        "work_ngonka",
        "reward_ngonka",
        "amount_ngonka",
        "settled_at",
        "settled_height",
        "restated_at",
    }
    assert int(row["amount_ngonka"]) == int(row["work_ngonka"]) + int(row["reward_ngonka"])
    assert row["settled_height"] == height
    assert header["time"].startswith(row["settled_at"].removesuffix("+00:00"))


async def test_the_truth_ends_with_the_last_settled_epoch(client: Client) -> None:
    rows = await client.get("/_simulator/payments")
    assert {row["epoch"] for row in rows} == set(range(FIRST_EPOCH, client.world.at(START).settled_epoch + 1))
