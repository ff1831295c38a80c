"""JSON answers, and what every route needs to know of its request."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

Json = dict[str, Any]

RequestHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NOW = web.RequestKey("now", datetime)
"""Key in a request: the time it is answered for. Faults move it into the past."""

CATCHING_UP = web.RequestKey("catching_up", bool)
"""Key in a request: whether the node says that it is catching up."""

LOWEST_HEIGHT = web.RequestKey("lowest_height", int)
"""Key in a request: the lowest height that is not pruned."""

TOTAL_KEY = "total_assigned_rewards_gnk"
"""Key in a tracker's reply: what all hosts together were rewarded in an epoch that has settled, in whole GNK."""


def asked_at(request: web.Request) -> datetime:
    """The time for which the request is answered."""
    return request[NOW]


def json_reply(body: Any, status: int = 200, height: int | None = None) -> web.Response:
    """The body as JSON; bytes are JSON already."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    reply = web.Response(body=raw, status=status, content_type="application/json", charset="utf-8")
    if height is not None:
        reply.headers["X-Cosmos-Block-Height"] = str(height)
    return reply


def grpc_error(status: int, code: int, message: str) -> web.Response:
    """An error as the chain's REST gateway writes it (code 5: not found, 3: invalid argument, 2: unknown)."""
    return json_reply({"code": code, "message": message, "details": []}, status)


def not_found(message: str = "not found") -> web.Response:
    """The gateway's answer for what the chain does not have."""
    return grpc_error(404, 5, message)


def nanosecond_time(moment: datetime, height: int) -> str:
    """A block's time with nine fractional digits; the last three are of the block, not of our clock."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}{height * 7 % 1000:03d}Z"


def query_number(request: web.Request, name: str) -> int | None:
    """A whole number of the query, None where it is absent or something else."""
    text = request.query.get(name, "").strip('"')
    return int(text) if text.isascii() and text.isdigit() else None


def path_number(request: web.Request, name: str) -> int:
    """A whole number of the path; its route only matches digits."""
    return int(request.match_info[name])
