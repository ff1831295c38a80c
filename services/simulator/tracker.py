"""A Hyperfusion-style tracker (github.com/gonka-ai/gonka-tracker): cached replies, naive timestamps, FastAPI's errors.

The same routes with a few more fields, under a prefix, are a gonkascan-style one.
"""

from datetime import datetime, timedelta
from functools import lru_cache

import msgspec
from aiohttp import web

from services.kernel.money import NGONKA_PER_GNK
from services.simulator.hosts import Host
from services.simulator.payments import Member
from services.simulator.public_api import seed_signature
from services.simulator.replies import TOTAL_KEY, Json, asked_at, json_reply, nanosecond_time, path_number, query_number
from services.simulator.rows import hardware_rows, node_weights, stats_row
from services.simulator.timeline import EPOCH_LENGTH, FIRST_EPOCH, microseconds, moment_of, poc_start
from services.simulator.world import Moment, Stats, World

_COMPUTED_LATE_US = 300_851
"""The cached reply carries this much more than a multiple of the cadence, so that its time has microseconds."""

_REWARDED_EPOCHS = 6


class TrackerApi:
    """Routes of a tracker. `places` adds the fields and the route that only gonkascan has."""

    def __init__(self, world: World, prefix: str = "", *, places: bool = False) -> None:
        self._world = world
        self._base = f"{prefix}/api/v1"
        self._places = places
        self._cadence_us = round(world.settings.tracker_cadence_seconds * 1_000_000)
        self._current = lru_cache(maxsize=4)(self._compose_current)

    def routes(self) -> list[web.RouteDef]:
        """Every route with its handler."""
        routes = [
            web.get(f"{self._base}/hello", self.hello),
            web.get(f"{self._base}/inference/current", self.current),
            web.get(f"{self._base}/inference/epochs/{{epoch:[0-9]{{1,9}}}}", self.epoch),
        ]
        if self._places:
            routes.append(web.get(f"{self._base}/participants/map", self.map))
        routes.append(web.get(f"{self._base}/participants/{{address}}", self.participant))
        return routes

    async def hello(self, request: web.Request) -> web.Response:
        """The tracker is up."""
        return json_reply({"message": "hello"})

    async def current(self, request: web.Request) -> web.Response:
        """The active set as it was when the cached reply was computed."""
        return json_reply(self._current(self._computed_at(asked_at(request))))

    async def epoch(self, request: web.Request) -> web.Response:
        """An epoch's active set with its last counters; the current one for the current epoch."""
        epoch = path_number(request, "epoch")
        now = asked_at(request)
        computed_at = self._computed_at(now)
        moment = self._world.at(computed_at)
        if epoch == moment.effective_epoch:
            return json_reply(self._current(computed_at))
        if epoch > moment.effective_epoch or epoch < FIRST_EPOCH:
            return _error(404, f"Epoch {epoch} not found")
        return json_reply(self._past(moment, epoch))

    async def participant(self, request: web.Request) -> web.Response:
        """One participant with the rewards of its last six epochs (whole GNK, cut) and its machines."""
        moment = self._world.at(self._computed_at(asked_at(request)))
        epoch = query_number(request, "epoch_id") or moment.effective_epoch
        host = self._world.by_address.get(request.match_info["address"])
        known = FIRST_EPOCH <= epoch <= moment.effective_epoch
        member = self._world.epoch(epoch).members.get(host.address) if host and known else None
        if host is None or member is None:
            return _error(404, f"Participant {request.match_info['address']} not found in epoch {epoch}")
        stats = self._stats(moment, epoch).get(host.address, _no_stats(self._world))
        status = self._world.status(host, moment, self._world.excluded(moment, epoch))
        signature = seed_signature(self._world.settings.seed, epoch, host)
        weights = node_weights(member)
        return json_reply(
            {
                "participant": self._row(moment, epoch, member, stats, status),
                "rewards": self._rewards(moment, epoch, host),
                "seed": {"participant": host.address, "epoch_index": epoch, "signature": signature},
                "warm_keys": [],
                "ml_nodes": [row | {"poc_weight": weights.get(row["local_id"], 0)} for row in hardware_rows(host)],
            }
        )

    async def map(self, request: web.Request) -> web.Response:
        """Where the participants are."""
        moment = self._world.at(self._computed_at(asked_at(request)))
        members = self._world.epoch(moment.effective_epoch).members.values()
        rows = [{"address": member.host.address, **_place(member.host)} for member in members]
        return json_reply({"epoch_id": moment.effective_epoch, "participants": rows})

    def _computed_at(self, now: datetime) -> datetime:
        """When the reply that is cached at a time was computed: every cadence, whoever asks."""
        us = microseconds(now) - _COMPUTED_LATE_US
        return moment_of(us // self._cadence_us * self._cadence_us + _COMPUTED_LATE_US)

    def _compose_current(self, computed_at: datetime) -> bytes:
        moment = self._world.at(computed_at)
        return msgspec.json.encode(
            self._inference(moment, moment.effective_epoch, moment.height) | {"is_current": True}
        )

    def _past(self, moment: Moment, epoch: int) -> Json:
        height = self._world.timeline.settlement_height(epoch) - 1
        paid = self._world.published(epoch, self._world.publication(epoch, moment.now))
        total = sum(row.reward_ngonka for row in paid) // NGONKA_PER_GNK
        return self._inference(moment, epoch, height) | {TOTAL_KEY: total}

    def _inference(self, moment: Moment, epoch: int, height: int) -> Json:
        timeline = self._world.timeline
        recent = timeline.block_time(height) - timeline.block_time(height - 100)
        stats = self._stats(moment, epoch)
        nothing = _no_stats(self._world)
        excluded = self._world.excluded(moment, epoch)
        rows = []
        for address, member in self._world.epoch(epoch).members.items():
            status = self._world.status(member.host, moment, excluded)
            rows.append(self._row(moment, epoch, member, stats.get(address, nothing), status))
        return {
            "epoch_id": epoch,
            "height": height,
            "cached_at": _naive(moment.now),
            "is_current": False,
            TOTAL_KEY: None,
            "current_block_height": moment.height,
            "current_block_timestamp": nanosecond_time(timeline.block_time(moment.height), moment.height),
            "avg_block_time": round(recent / timedelta(seconds=100), 4),
            "next_poc_start_block": poc_start(moment.latest_epoch) + EPOCH_LENGTH,
            "set_new_validators_block": timeline.effective_height(moment.latest_epoch + 1),
            "participants": rows,
        }

    def _stats(self, moment: Moment, epoch: int) -> dict[str, Stats]:
        """Counters by address: of the running epoch for the current set, the last ones for an epoch that is over."""
        if epoch == moment.effective_epoch:
            return self._world.live_stats(moment)
        earned = {row.address: row.work_ngonka for row in self._world.payments(epoch)}
        members = self._world.epoch(epoch).members
        return {address: Stats(member.work, earned.get(address, 0)) for address, member in members.items()}

    def _row(self, moment: Moment, epoch: int, member: Member, stats: Stats, status: str) -> Json:
        host, work = member.host, stats.work
        checked_at = moment_of(microseconds(moment.now) // (2 * self._cadence_us) * 2 * self._cadence_us + 619_478)
        checked_at = min(checked_at, moment.now)
        health = self._world.health(host, checked_at)
        key = host.validator_key if host.validates else None
        row: Json = {
            "index": host.address,
            "address": host.address,
            "weight": str(member.weight) if host.answers_strings else member.weight,
            "validator_key": host.validator_key,
            "inference_url": host.url,
            "status": status,
            "models": list(host.models),
            "current_epoch_stats": stats_row(stats),
            "is_jailed": health.jailed if host.validates else None,
            "jailed_until": f"{health.jailed_until:%Y-%m-%dT%H:%M:%SZ}" if health.jailed_until else None,
            "ready_to_unjail": health.ready_to_unjail if host.validates else None,
            "node_healthy": health.healthy,
            "node_health_checked_at": _naive(checked_at),
            "moniker": host.moniker,
            "identity": None,
            "keybase_username": None,
            "keybase_picture_url": None,
            "website": None,
            "validator_consensus_key": key,
            "consensus_key_mismatch": None if key is None else False,
            "seed_signature": seed_signature(self._world.settings.seed, epoch, host),
            "ml_nodes_map": node_weights(member),
            "weight_to_confirm": member.confirmation_weight,
            "confirmation_weight": member.confirmation_weight,
            "confirmation_poc_ratio": 1 if member.confirmation_weight else None,
            "participant_status": "ACTIVE",
            "missed_rate": _rate(work.missed, work.missed + work.inferences),
            "invalidation_rate": _rate(work.invalidated, work.invalidated + work.validated),
        }
        return row | _place(host) if self._places and host.index % 4 else row

    def _rewards(self, moment: Moment, epoch: int, host: Host) -> list[Json]:
        newest = min(epoch, moment.settled_epoch)
        rewards: list[Json] = []
        for settled in range(newest, max(FIRST_EPOCH - 1, newest - _REWARDED_EPOCHS), -1):
            shown = self._world.published(settled, self._world.publication(settled, moment.now))
            paid = next((row for row in shown if row.address == host.address), None)
            if paid:
                rewards.append(
                    {
                        "epoch_id": settled,
                        "assigned_reward_gnk": paid.reward_ngonka // NGONKA_PER_GNK,
                        "claimed": paid.amount_ngonka > 0,
                    }
                )
        return rewards


def _no_stats(world: World) -> Stats:
    return Stats(world.final_work(FIRST_EPOCH, ""), 0)


def _naive(moment: datetime) -> str:
    """UTC without saying so, as `datetime.utcnow().isoformat()` writes it."""
    return moment.replace(tzinfo=None).isoformat()


def _rate(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0


def _place(host: Host) -> Json:
    country, region = host.region
    return {"country": country, "region": region}


def _error(status: int, detail: str) -> web.Response:
    return json_reply({"detail": detail}, status)
