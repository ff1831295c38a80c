"""A small HTTP server that answers given replies at their paths, and captured payloads as such replies.

The captures are not part of the project: MINEGNK_PAYLOADS_DIR names their folder. What a capture lacks (where the node
stands, when blocks were made, who was in an epoch's group) is given here, in the shapes of the real replies.
"""

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

REPOSITORY = Path(__file__).resolve().parent.parent
CURRENT = "/api/v1/inference/current"
INFERENCE = "/chain-api/productscience/inference/inference"

SUMMARY_HOST = "gonka14cu38xpsd8pz5zdkkzwf0jwtpc0vv309ake364"
HARDWARE_HOSTS = ("gonka10ypwjuh2d33eywnklqxgq8lhprcjap66cdk738", "gonka1sqwpuxkspyp483l64knd5rp6qp56ymj4v6ca86")

VALIDATION_ENDS = {
    52: (811872, "2025-10-14T02:16:24Z"),
    53: (827263, "2025-10-15T03:56:24Z"),
    54: (842654, "2025-10-16T05:36:24Z"),
    55: (858045, "2025-10-17T07:16:24Z"),
    56: (873436, "2025-10-18T08:56:24Z"),
    57: (888827, "2025-10-19T10:36:24Z"),
}
"""Where PoC validation of an epoch ended, so that the epoch before it settled: the height, and a time given here."""

Reply = bytes | dict[str, Any] | list[Any] | Callable[[web.Request], Any]
"""A body, a value for a JSON body, or a function from the request to a response (may be async)."""


@dataclass
class Serving:
    """A server that answers: change `replies` and it answers otherwise. Unknown paths are 404."""

    url: str
    replies: dict[str, Reply]
    requests: list[str] = field(default_factory=list)

    def count(self, text: str) -> int:
        """How many requests so far had this in their path or query."""
        return sum(text in request for request in self.requests)


@asynccontextmanager
async def serving(replies: Mapping[str, Reply]) -> AsyncIterator[Serving]:
    """Serve these replies by path, or by path and query, on a free port until the block ends."""
    state = Serving("", dict(replies))

    async def answer(request: web.Request) -> web.StreamResponse:
        state.requests.append(request.path_qs)
        reply = state.replies.get(request.path_qs, state.replies.get(request.path))
        if reply is None:
            return web.json_response({"code": 5, "message": "not found", "details": []}, status=404)
        if callable(reply):
            reply = reply(request)
            if not isinstance(reply, web.StreamResponse | dict | list | bytes):
                reply = await reply
        if isinstance(reply, web.StreamResponse):
            return reply
        body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        state.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield state
    finally:
        await runner.cleanup()


def payloads_folder() -> Path:
    """The folder of captures; without it the test is skipped."""
    folder = Path(os.environ.get("MINEGNK_PAYLOADS_DIR") or REPOSITORY / "../shared/gonka/payloads")
    if not folder.is_dir():
        pytest.skip("There are no captured payloads here: set MINEGNK_PAYLOADS_DIR to their folder.")
    return folder


def status(height: int, time: str, **more: Any) -> dict[str, Any]:
    """A reply of /chain-rpc/status."""
    info = {"latest_block_height": str(height), "latest_block_time": time, "catching_up": False, **more}
    return {"jsonrpc": "2.0", "id": -1, "result": {"sync_info": info}}


def block(height: int, time: str) -> dict[str, Any]:
    """A reply of /chain-rpc/block."""
    return {"jsonrpc": "2.0", "id": -1, "result": {"block": {"header": {"height": str(height), "time": time}}}}


def latest(index: int, validation_end: int, delay: int = 120) -> dict[str, Any]:
    """A reply of /v1/epochs/latest."""
    return {
        "latest_epoch": {"index": index, "poc_start_block_height": validation_end - 185},
        "phase": "Inference",
        "epoch_stages": {"epoch_index": index, "poc_validation_end": validation_end},
        "epoch_params": {"epoch_length": 15391, "set_new_validators_delay": delay},
    }


def group_data(epoch: int, effective_height: int, members: list[str]) -> dict[str, Any]:
    """A reply of …/epoch_group_data/{epoch}; its epoch_group_id is not the epoch."""
    weights = [{"member_address": member, "weight": "10", "reputation": 100} for member in members]
    return {
        "epoch_group_data": {
            "epoch_index": str(epoch),
            "epoch_group_id": "988",
            "effective_block_height": str(effective_height),
            "validation_weights": weights,
        }
    }


def tracker_replies(folder: Path) -> dict[str, Reply]:
    """hyperfusion-inference.json at its path: 3 hosts of epoch 105."""
    return {CURRENT: (folder / "hyperfusion-inference.json").read_bytes()}


def december_node(folder: Path) -> dict[str, Reply]:
    """gonka-participants.json (3 hosts) and gonka-epochs-latest.json: a node without the list of all participants."""
    return {
        "/chain-rpc/status": status(1634326, "2025-12-08T13:56:46.512345678Z"),
        "/v1/epochs/latest": (folder / "gonka-epochs-latest.json").read_bytes(),
        "/v1/epochs/current/participants": (folder / "gonka-participants.json").read_bytes(),
    }


def october_node(folder: Path, *, epoch_56_settled: bool = False) -> dict[str, Reply]:
    """The node of October 2025: 26 active hosts of 193, one host's hardware, one host's summaries of epochs 51 to 56.

    It stands at the captures' height; with `epoch_56_settled` so much later that epoch 56 has settled too. There is no
    list of summaries and none of all hardware.
    """
    index = 57 if epoch_56_settled else 56
    standing = status(890000, "2025-10-19T14:25:00Z") if epoch_56_settled else status(887711, "2025-10-19T08:44:00Z")
    replies: dict[str, Reply] = {
        "/chain-rpc/status": standing,
        "/v1/epochs/latest": latest(index, VALIDATION_ENDS[index][0]),
        "/v1/epochs/current/participants": (folder / "current_epoch_participants.json").read_bytes(),
        f"{INFERENCE}/participant": (folder / "all_participants_height_887711.json").read_bytes(),
        **_hardware(folder),
    }
    for epoch, (height, time) in VALIDATION_ENDS.items():
        replies[f"/chain-rpc/block?height={height}"] = block(height, time)
        replies[f"{INFERENCE}/epoch_group_data/{epoch}"] = group_data(epoch, height + 120, [SUMMARY_HOST])
    replies[f"{INFERENCE}/epoch_group_data/51"] = group_data(51, 796601, [SUMMARY_HOST])
    for epoch in range(51, 57):
        capture = folder / f"epoch_performance_summary_{epoch}_gonka14cu38x.json"
        replies[f"{INFERENCE}/epoch_performance_summary/{epoch}/{SUMMARY_HOST}"] = capture.read_bytes()
    return replies


def hardware_node(folder: Path) -> dict[str, Reply]:
    """hardware_nodes_*.json, of a node whose active set is these two hosts."""
    rows = [{"index": address, "weight": 1, "models": []} for address in HARDWARE_HOSTS]
    return {
        "/chain-rpc/status": status(887711, "2025-10-19T08:44:00Z"),
        "/v1/epochs/latest": latest(56, VALIDATION_ENDS[56][0]),
        "/v1/epochs/current/participants": {"active_participants": {"participants": rows, "epoch_id": 56}},
        **_hardware(folder),
    }


def _hardware(folder: Path) -> dict[str, Reply]:
    return {
        f"{INFERENCE}/hardware_nodes/{address}": (folder / f"hardware_nodes_{address[:13]}.json").read_bytes()
        for address in HARDWARE_HOSTS
    }
