"""The node API under /v1 (and /health): epochs, their active participants, balances."""

from base64 import b64encode
from functools import lru_cache

from aiohttp import web

from services.simulator.chance import draw, octets
from services.simulator.hosts import Host
from services.simulator.payments import Member
from services.simulator.replies import Json, asked_at, json_reply, nanosecond_time, path_number
from services.simulator.rows import as_strings, epoch_params, epoch_stages, phase
from services.simulator.timeline import FIRST_EPOCH, poc_start
from services.simulator.world import Moment, World

_DRIFT_SHARE = 0.25
"""The part of the epochs in which the API answers in the shape of chain version 0.2.15."""


class PublicApi:
    """Routes of a node's decentralized API."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._active = lru_cache(maxsize=16)(self._active_participants)

    def routes(self) -> list[web.RouteDef]:
        """Every route with its handler."""
        return [
            web.get("/health", self.health),
            web.get("/v1/status", self.status),
            web.get("/v1/epochs/latest", self.latest_epoch),
            web.get("/v1/epochs/current/participants", self.current_participants),
            web.get("/v1/epochs/{epoch:[0-9]{1,9}}/participants", self.epoch_participants),
            web.get("/v1/participants", self.participants),
        ]

    async def health(self, request: web.Request) -> web.Response:
        """The host is up."""
        return json_reply({"status": "ok"})

    async def status(self, request: web.Request) -> web.Response:
        """The host's view of the chain."""
        moment = self._world.at(asked_at(request))
        return json_reply({"status": "ok", "block_height": moment.height, "epoch": moment.latest_epoch})

    async def latest_epoch(self, request: web.Request) -> web.Response:
        """The epoch whose PoC started last, its stages and those of the next."""
        moment = self._world.at(asked_at(request))
        epoch = moment.latest_epoch
        timeline = self._world.timeline
        stages = epoch_stages(timeline, epoch)
        params = epoch_params(timeline, epoch)
        return json_reply(
            {
                "block_height": moment.height,
                "latest_epoch": {"index": epoch, "poc_start_block_height": poc_start(epoch)},
                "phase": phase(stages, moment.height),
                "epoch_stages": stages,
                "next_epoch_stages": epoch_stages(timeline, epoch + 1),
                "epoch_params": {"epoch_params": as_strings(params)} if self._drifts(epoch) else params,
                "is_confirmation_poc_active": False,
            }
        )

    async def current_participants(self, request: web.Request) -> web.Response:
        """The active set of the effective epoch."""
        moment = self._world.at(asked_at(request))
        return json_reply(self._participants(moment, moment.effective_epoch))

    async def epoch_participants(self, request: web.Request) -> web.Response:
        """The active set of an epoch, from the end of its PoC validation on."""
        moment = self._world.at(asked_at(request))
        epoch = path_number(request, "epoch")
        if not FIRST_EPOCH <= epoch <= moment.settled_epoch + 1:
            return json_reply({"error": f"active participants of epoch {epoch} not found"}, 404)
        return json_reply(self._participants(moment, epoch))

    async def participants(self, request: web.Request) -> web.Response:
        """Everybody's balances."""
        moment = self._world.at(asked_at(request))
        stats = self._world.live_stats(moment)
        members = self._world.epoch(moment.running_epoch).members
        rows = [
            {
                "id": host.address,
                "url": host.url,
                "coins_owed": stats[host.address].earned_ngonka if host.address in stats else 0,
                "refunds_owed": 0,
                "balance": 0,
                "voting_power": members[host.address].weight if host.address in members else 0,
                "reputation": 1.0,
            }
            for host in self._world.listed(moment)
        ]
        return json_reply({"participants": rows, "block_height": moment.height})

    def _drifts(self, epoch: int) -> bool:
        return draw(self._world.settings.seed, "api drift", epoch) < _DRIFT_SHARE

    def _participants(self, moment: Moment, epoch: int) -> Json:
        created = self._world.timeline.validation_end(epoch)
        members = self._world.epoch(epoch).members.values()
        excluded = self._world.excluded(moment, epoch)
        return {
            "active_participants": self._active(epoch),
            "addresses": [member.host.consensus_address for member in members],
            "active_participants_bytes": octets(32, epoch, "bytes").hex(),
            "proof_ops": {
                "ops": [{"type": "ics23:iavl", "key": b64encode(b"ActiveParticipants").decode(), "data": ""}]
            },
            "validators": [
                {
                    "address": member.host.consensus_address,
                    "pub_key": member.host.validator_key,
                    "voting_power": member.weight,
                    "proposer_priority": member.weight - 1000,
                }
                for member in members
                if member.host.validates
            ],
            "block": {
                "header": {
                    "chain_id": "gonka-simulated",
                    "height": created + 1,
                    "time": nanosecond_time(self._world.timeline.block_time(created + 1), created + 1),
                },
                "last_commit": {"height": created, "round": 0, "signatures": []},
            },
            "excluded_participants": [
                {"address": address, "epoch_id": epoch, "reason": reason, "effective_height": height}
                for address, (reason, height) in excluded.items()
            ],
        }

    def _active_participants(self, epoch: int) -> Json:
        created = self._world.timeline.validation_end(epoch)
        numbers: Json = {
            "epoch_group_id": epoch,
            "poc_start_block_height": poc_start(epoch),
            "effective_block_height": created + 2,
            "created_at_block_height": created,
            "epoch_id": epoch,
        }
        rows = [self._active_row(epoch, member) for member in self._world.epoch(epoch).members.values()]
        return {"participants": rows, **(as_strings(numbers) if self._drifts(epoch) else numbers)}

    def _active_row(self, epoch: int, member: Member) -> Json:
        host = member.host
        row: Json = {
            "index": host.address,
            "validator_key": host.validator_key,
            "weight": member.weight,
            "inference_url": host.url,
            "models": list(host.models),
            "seed": {
                "participant": host.address,
                "epoch_index": epoch,
                "signature": seed_signature(self._world.settings.seed, epoch, host),
            },
            "ml_nodes": _nodes_by_model(member),
        }
        if host.answers_strings:
            row["seed"] = as_strings(row["seed"])
            return as_strings(row)
        return row


def seed_signature(seed: int, epoch: int, host: Host) -> str:
    """The host's signature of the epoch's seed: 64 bytes in hexadecimal."""
    return octets(64, seed, "signature", epoch, host.index).hex()


def _nodes_by_model(member: Member) -> list[Json]:
    """One `{ml_nodes: […]}` for each model; nodes without weight are left out."""
    groups: dict[str, list[Json]] = {model: [] for model in member.host.models}
    for node, weight in zip(member.host.ml_nodes, member.node_weights, strict=True):
        if not weight:
            continue
        entry: Json = {"node_id": node.name, "poc_weight": weight, "timeslot_allocation": [True, node.power % 2 == 0]}
        groups[node.model].append(as_strings(entry) if member.host.answers_strings else entry)
    return [{"ml_nodes": nodes} for nodes in groups.values()]
