"""CometBFT's RPC under /chain-rpc: where the chain stands, and when a block was made."""

from typing import Any

from aiohttp import web

from services.simulator.chance import octets
from services.simulator.replies import (
    CATCHING_UP,
    LOWEST_HEIGHT,
    Json,
    asked_at,
    json_reply,
    nanosecond_time,
    query_number,
)
from services.simulator.world import World


class RpcApi:
    """Routes of the chain's RPC."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        """Every route with its handler."""
        return [web.get("/chain-rpc/status", self.status), web.get("/chain-rpc/block", self.block)]

    async def status(self, request: web.Request) -> web.Response:
        """The newest block, and whether the node is catching up."""
        height = self._world.at(asked_at(request)).height
        lowest = request.get(LOWEST_HEIGHT, 1)
        return _result(
            {
                "node_info": {"network": "gonka-simulated", "version": "0.38.17", "moniker": "simulator"},
                "sync_info": {
                    "latest_block_hash": _hash("block", height),
                    "latest_app_hash": _hash("app", height),
                    "latest_block_height": str(height),
                    "latest_block_time": self._time(height),
                    "earliest_block_hash": _hash("block", lowest),
                    "earliest_block_height": str(lowest),
                    "earliest_block_time": self._time(lowest),
                    "catching_up": request.get(CATCHING_UP, False),
                },
                "validator_info": {"address": _hash("validator", 0)[:40], "voting_power": "0"},
            }
        )

    async def block(self, request: web.Request) -> web.Response:
        """A block's header; an error for pruned heights and for those to come."""
        newest = self._world.at(asked_at(request)).height
        lowest = request.get(LOWEST_HEIGHT, 1)
        height = newest if "height" not in request.query else query_number(request, "height")
        if height is None or height < 1:
            return _error("height must be greater than 0")
        if height > newest:
            return _error(f"height {height} must be less than or equal to the current blockchain height {newest}")
        if height < lowest:
            return _error(f"height {height} is not available, lowest height is {lowest}")
        header = {
            "version": {"block": "11"},
            "chain_id": "gonka-simulated",
            "height": str(height),
            "time": self._time(height),
            "last_block_id": {"hash": _hash("block", height - 1)},
            "app_hash": _hash("app", height),
        }
        block = {"header": header, "data": {"txs": []}, "evidence": {"evidence": []}, "last_commit": None}
        return _result({"block_id": {"hash": _hash("block", height)}, "block": block})

    def _time(self, height: int) -> str:
        return nanosecond_time(self._world.timeline.block_time(height), height)


def _hash(kind: str, height: int) -> str:
    return octets(32, kind, height).hex().upper()


def _result(result: Json) -> web.Response:
    return json_reply({"jsonrpc": "2.0", "id": -1, "result": result})


def _error(detail: str) -> web.Response:
    error: dict[str, Any] = {"code": -32603, "message": "Internal error", "data": detail}
    return json_reply({"jsonrpc": "2.0", "id": -1, "error": error}, 500)
