"""The chain's REST gateway under /chain-api: participants, summaries, group data, hardware, jails."""

from collections.abc import Callable
from functools import lru_cache

import msgspec
from aiohttp import web

from services.simulator.hosts import Host
from services.simulator.pages import InvalidKeyError, page
from services.simulator.payments import Payment, Publication, emission_ngonka
from services.simulator.public_api import seed_signature
from services.simulator.replies import Json, asked_at, grpc_error, json_reply, not_found, path_number
from services.simulator.rows import as_strings, epoch_params, hardware_rows, node_weights, stats_row
from services.simulator.timeline import FIRST_EPOCH, microseconds, poc_start
from services.simulator.world import Moment, Stats, World

INFERENCE = "/chain-api/productscience/inference/inference"
STAKING = "/chain-api/cosmos/staking/v1beta1"


class ChainApi:
    """Routes of the chain's REST gateway."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._summaries = lru_cache(maxsize=64)(self._compose_summaries)

    def routes(self) -> list[web.RouteDef]:
        """Every route with its handler."""
        epoch = "{epoch:[0-9]{1,9}}"
        return [
            web.get(f"{INFERENCE}/participant", self.participants),
            web.get(f"{INFERENCE}/participant/{{address}}", self.participant),
            web.get(f"{INFERENCE}/epoch_performance_summary/{epoch}", self.summaries),
            web.get(f"{INFERENCE}/epoch_performance_summary/{epoch}/{{address}}", self.summary),
            web.get(f"{INFERENCE}/current_epoch_group_data", self.current_group_data),
            web.get(f"{INFERENCE}/epoch_group_data/{epoch}", self.group_data),
            web.get(f"{INFERENCE}/excluded_participants/{epoch}", self.excluded),
            web.get(f"{INFERENCE}/hardware_nodes/{{address}}", self.hardware),
            web.get(f"{INFERENCE}/hardware_nodes_all", self.all_hardware),
            web.get(f"{INFERENCE}/estimate_bitcoin_reward/{{address}}", self.estimate),
            web.get(f"{INFERENCE}/get_current_epoch", self.current_epoch),
            web.get(f"{INFERENCE}/params", self.params),
            web.get(f"{STAKING}/validators", self.validators),
        ]

    async def participants(self, request: web.Request) -> web.Response:
        """A page of everybody listed, with the running epoch's counters."""
        moment = self._moment(request)
        row = self._participant_row(moment)
        return self._page(request, moment, "participant", self._world.listed(moment), row)

    async def participant(self, request: web.Request) -> web.Response:
        """One participant."""
        moment = self._moment(request)
        host = self._host(request, moment)
        if host is None:
            return not_found()
        return json_reply({"participant": self._participant_row(moment)(host)}, height=moment.height)

    async def summaries(self, request: web.Request) -> web.Response:
        """What everybody was paid for an epoch; an empty list until it has settled."""
        moment = self._moment(request)
        epoch = path_number(request, "epoch")
        body, _ = self._summaries(epoch, self._world.publication(epoch, moment.now))
        return json_reply(body, height=moment.height)

    async def summary(self, request: web.Request) -> web.Response:
        """What one host was paid for an epoch."""
        moment = self._moment(request)
        epoch = path_number(request, "epoch")
        _, rows = self._summaries(epoch, self._world.publication(epoch, moment.now))
        row = rows.get(request.match_info["address"])
        return not_found() if row is None else json_reply({"epochPerformanceSummary": row}, height=moment.height)

    async def current_group_data(self, request: web.Request) -> web.Response:
        """The group of the effective epoch."""
        moment = self._moment(request)
        return json_reply(self._group_data(moment, moment.effective_epoch, None), height=moment.height)

    async def group_data(self, request: web.Request) -> web.Response:
        """The group of an epoch, or its sub-group of one model (`?model_id=`)."""
        moment = self._moment(request)
        epoch = path_number(request, "epoch")
        if not FIRST_EPOCH <= epoch <= moment.latest_epoch:
            return not_found()
        return json_reply(self._group_data(moment, epoch, request.query.get("model_id")), height=moment.height)

    async def excluded(self, request: web.Request) -> web.Response:
        """Who was excluded from an epoch, and why."""
        moment = self._moment(request)
        epoch = path_number(request, "epoch")
        excluded = self._world.excluded(moment, epoch) if FIRST_EPOCH <= epoch <= moment.latest_epoch else {}
        items = [
            {"address": address, "epoch_id": str(epoch), "reason": reason, "effective_height": str(height)}
            for address, (reason, height) in excluded.items()
        ]
        return json_reply({"items": items}, height=moment.height)

    async def hardware(self, request: web.Request) -> web.Response:
        """One host's machines."""
        moment = self._moment(request)
        host = self._host(request, moment)
        if host is None:
            return not_found()
        return json_reply(
            {"nodes": {"participant": host.address, "hardware_nodes": hardware_rows(host)}}, height=moment.height
        )

    async def all_hardware(self, request: web.Request) -> web.Response:
        """Everybody's machines, and those of hosts that left long ago: the chain never forgets them."""
        moment = self._moment(request)
        hosts = self._world.listed(moment)
        nodes = [{"participant": host.address, "hardware_nodes": hardware_rows(host)} for host in hosts]
        nodes += [{"participant": gone, "hardware_nodes": []} for gone in self._world.former_addresses]
        return json_reply({"nodes": nodes}, height=moment.height)

    async def estimate(self, request: web.Request) -> web.Response:
        """What a member of the running epoch would be paid if it settled as it stands."""
        moment = self._moment(request)
        epoch, address = moment.running_epoch, request.match_info["address"]
        member = self._world.epoch(epoch).members.get(address)
        if member is None:
            return not_found("participant not found in epoch reward estimate")
        total = self._world.epoch(epoch).total_weight
        unpaid = address in self._world.excluded(moment, epoch) or not total
        reward = 0 if unpaid else emission_ngonka(epoch) * member.weight // total
        estimate = {
            "participant": address,
            "epoch_index": str(epoch),
            "reward_coins": str(reward),
            "work_coins": str(self._world.live_stats(moment)[address].earned_ngonka),
            "seed_signature": seed_signature(self._world.settings.seed, epoch, member.host),
        }
        return json_reply({"settle_amount": estimate}, height=moment.height)

    async def current_epoch(self, request: web.Request) -> web.Response:
        """The effective epoch's number."""
        moment = self._moment(request)
        return json_reply({"epoch": str(moment.effective_epoch)}, height=moment.height)

    async def params(self, request: web.Request) -> web.Response:
        """The parameters that concern epochs and pay."""
        moment = self._moment(request)
        params = {
            "epoch_params": as_strings(epoch_params(self._world.timeline, moment.latest_epoch)),
            "tokenomics_params": {"work_vesting_period": "180", "reward_vesting_period": "180"},
            "bitcoin_reward_params": {
                "use_bitcoin_rewards": True,
                "initial_epoch_reward": "323000000000000",
                "decay_rate": {"value": "-475", "exponent": -6},
                "genesis_epoch": "1",
            },
        }
        return json_reply({"params": params}, height=moment.height)

    async def validators(self, request: web.Request) -> web.Response:
        """A page of the validators with their jail flags."""
        moment = self._moment(request)
        hosts = [host for host in self._world.listed(moment) if host.validates]
        return self._page(request, moment, "validators", hosts, lambda host: self._validator_row(moment, host))

    def _moment(self, request: web.Request) -> Moment:
        return self._world.at(asked_at(request))

    def _host(self, request: web.Request, moment: Moment) -> Host | None:
        host = self._world.by_address.get(request.match_info["address"])
        return host if host and host.joins <= moment.running_epoch else None

    def _page(
        self, request: web.Request, moment: Moment, name: str, hosts: list[Host], row: Callable[[Host], Json]
    ) -> web.Response:
        try:
            shown, pagination = page(request, [(host.account, host) for host in hosts])
        except InvalidKeyError:
            return grpc_error(400, 3, "invalid pagination key")
        body: Json = {name: [row(host) for host in shown], "pagination": pagination}
        if name == "participant":
            body["block_height"] = str(moment.height)
        return json_reply(body, height=moment.height)

    def _participant_row(self, moment: Moment) -> Callable[[Host], Json]:
        stats = self._world.live_stats(moment)
        excluded = self._world.excluded(moment, moment.running_epoch)
        nothing = Stats(self._world.final_work(moment.running_epoch, ""), 0)

        def row(host: Host) -> Json:
            counters = stats.get(host.address, nothing)
            joined = poc_start(host.joins)
            worked = microseconds(moment.now) // 1000 - 1000 * (host.index % 60) if counters.work.inferences else 0
            current = stats_row(counters)
            if host.index % 2:
                current |= {
                    "invalidLLR": {"value": "0", "exponent": 0},
                    "inactiveLLR": {"value": "-12", "exponent": -2},
                }
            return {
                "index": host.address,
                "address": host.address,
                "weight": 1 if host.index % 19 == 0 else -1,
                "join_time": str(microseconds(self._world.timeline.block_time(joined)) // 1000),
                "join_height": str(joined),
                "last_inference_time": str(worked),
                "inference_url": host.url,
                "status": self._world.status(host, moment, excluded),
                "coin_balance": str(counters.earned_ngonka),
                "validator_key": host.validator_key,
                "consecutive_invalid_inferences": "0",
                "worker_public_key": "",
                "epochs_completed": max(0, moment.settled_epoch - host.joins),
                "current_epoch_stats": current,
            }

        return row

    def _compose_summaries(self, epoch: int, publication: Publication) -> tuple[bytes, dict[str, Json]]:
        """The reply with an epoch's list, and its rows by address."""
        rows = {row.address: self._summary_row(epoch, row) for row in self._world.published(epoch, publication)}
        return msgspec.json.encode({"epochPerformanceSummary": list(rows.values())}), rows

    def _summary_row(self, epoch: int, payment: Payment) -> Json:
        work = self._world.final_work(epoch, payment.address)
        return {
            "epoch_index": str(epoch),
            "participant_id": payment.address,
            "inference_count": str(work.inferences),
            "missed_requests": str(work.missed),
            "earned_coins": str(payment.work_ngonka),
            "rewarded_coins": str(payment.reward_ngonka),
            "burned_coins": "0",
            "validated_inferences": str(work.validated),
            "invalidated_inferences": str(work.invalidated),
            "claimed": payment.amount_ngonka > 0,
        }

    def _group_data(self, moment: Moment, epoch: int, model: str | None) -> Json:
        timeline = self._world.timeline
        members = list(self._world.epoch(epoch).members.values())
        if model is not None:
            members = [member for member in members if model in member.host.models]
        effective = timeline.effective_height(epoch)
        last = timeline.effective_height(epoch + 1) - 1
        work = self._world.live_stats(moment) if epoch == moment.running_epoch else None
        requests = (
            sum(stats.work.inferences for stats in work.values())
            if work is not None
            else sum(member.work.inferences for member in members)
        )
        return {
            "epoch_group_data": {
                "epoch_index": str(epoch),
                "epoch_group_id": str(epoch * 4 - 12),  # a number of its own: recorded 988 for epoch 250
                "model_id": model or "",
                "poc_start_block_height": str(poc_start(epoch)),
                # Model sub-groups have 0, and so has a group whose validators are not in force yet.
                "effective_block_height": str(effective if model is None and effective <= moment.height else 0),
                "last_block_height": str(last if last <= moment.height else 0),
                "total_weight": str(sum(member.weight for member in members)),
                "number_of_requests": str(requests),
                "sub_group_models": sorted({name for member in members for name in member.host.models}),
                "validation_weights": [
                    {
                        "member_address": member.host.address,
                        "weight": str(member.weight),
                        "confirmation_weight": str(member.confirmation_weight),
                        "reputation": 100,
                        "voting_power": "0",
                        "ml_nodes": []
                        if model is None
                        else [
                            {"node_id": name, "poc_weight": str(weight)}
                            for name, weight in node_weights(member).items()
                        ],
                    }
                    for member in members
                ],
            }
        }

    def _validator_row(self, moment: Moment, host: Host) -> Json:
        member = self._world.epoch(moment.effective_epoch).members.get(host.address)
        health = self._world.health(host, moment.now)
        tokens = str(member.weight if member else 0)
        return {
            "operator_address": host.operator_address,
            "consensus_pubkey": {"@type": "/cosmos.crypto.ed25519.PubKey", "key": host.validator_key},
            "jailed": health.jailed,
            "status": "BOND_STATUS_BONDED" if member and not health.jailed else "BOND_STATUS_UNBONDING",
            "tokens": tokens,
            "delegator_shares": f"{tokens}.000000000000000000",
            "description": {"moniker": host.moniker or "", "identity": "", "website": "", "details": ""},
        }
