"""Switches for everything that goes wrong with public trackers, and the middleware that applies them."""

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.kernel.errors import ConfigurationError
from services.simulator.replies import CATCHING_UP, LOWEST_HEIGHT, NOW, TOTAL_KEY, Json, RequestHandler, json_reply
from services.simulator.timeline import EPOCH_LENGTH
from services.simulator.world import World

_CHUNK = b" " * 2**18


class FaultKind(StrEnum):
    """What can go wrong."""

    TOO_MANY_REQUESTS = "429"
    SERVER_ERROR = "500"
    UNAVAILABLE = "503"
    EMPTY_LIST = "empty_list"
    TRUNCATED_LIST = "truncated_list"
    MISSING_ROWS = "missing_rows"
    TRUNCATED_BODY = "truncated_body"
    TIMEOUT = "timeout"
    SLOW = "slow"
    STALE = "stale"
    CATCHING_UP = "catching_up"
    OLDER_HEIGHT = "older_height"
    REDIRECT = "redirect"
    HUGE_BODY = "huge_body"
    PRUNED = "pruned"
    WRONG_TOTAL = "wrong_total"


class Fault(BaseModel):
    """One switch: what happens to requests whose path matches, how often and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    path: str = Field("*", description="glob over the request's path; * also matches slashes")
    count: int | None = Field(None, ge=1, description="requests that are hit before the switch goes off by itself")
    seconds: float | None = Field(None, gt=0, description="simulator's seconds after which it goes off by itself")
    probability: float = Field(1.0, gt=0, le=1, description="chance that a matching request is hit")
    retry_after: str | None = Field("1", description="429, 503: Retry-After, seconds or an HTTP date; null: none")
    delay_seconds: float = Field(2.0, gt=0, description="slow: pause before the answer")
    back_seconds: float = Field(60.0, gt=0, description="older_height: how far back the answer is")
    keep: int = Field(3, ge=0, description="truncated_list: rows that are left")
    every: int = Field(7, ge=1, description="missing_rows: one row in so many is left out")
    keep_blocks: int = Field(2 * EPOCH_LENGTH, ge=1, description="pruned: blocks that are left")
    off_by_gnk: int = Field(1_000, description="wrong_total: GNK that are added to a past epoch's total of a tracker")
    size_bytes: int = Field(64 * 2**20, ge=1, description="huge_body: size of the answer")
    location: str = Field("http://127.0.0.1:9", description="redirect: origin that the answer points to")


def parse_fault(text: str | bytes) -> Fault:
    """A fault from JSON. Raises ConfigurationError with one sentence that says what is wrong."""
    try:
        return Fault.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "fault"
        raise ConfigurationError(f"{where}: {first['msg']}. Give a fault such as {{'kind': '429'}} as JSON.") from None


@dataclass
class _Switch:
    """A fault that is on, since when, and how often it has hit."""

    fault: Fault
    since: datetime
    hits: int = 0

    def over(self, now: datetime) -> bool:
        fault = self.fault
        if fault.count is not None and self.hits >= fault.count:
            return True
        return fault.seconds is not None and now >= self.since + timedelta(seconds=fault.seconds)


class Faults:
    """The switches that are on. Probabilities are drawn from the seed, in the order of the requests."""

    def __init__(self, seed: int) -> None:
        self._switches: list[_Switch] = []
        self._random = random.Random(seed)  # noqa: S311 -- repeatable on purpose

    def turn_on(self, fault: Fault, now: datetime) -> None:
        """Add a switch."""
        self._switches.append(_Switch(fault, now))

    def clear(self) -> None:
        """Turn all switches off."""
        self._switches.clear()

    def active(self, now: datetime) -> list[Json]:
        """The switches that are on, with the number of requests they have hit."""
        self._switches = [switch for switch in self._switches if not switch.over(now)]
        return [switch.fault.model_dump(mode="json") | {"hits": switch.hits} for switch in self._switches]

    def strike(self, path: str, now: datetime) -> list[tuple[Fault, datetime]]:
        """The faults that hit this request, with the times since when they are on; counts them as hit."""
        self._switches = [switch for switch in self._switches if not switch.over(now)]
        struck = []
        for switch in self._switches:
            fault = switch.fault
            if fnmatchcase(path, fault.path) and (fault.probability == 1 or self._random.random() < fault.probability):
                switch.hits += 1
                struck.append((fault, switch.since))
        return struck


class FaultInjector:
    """Answers requests as the switches want. `stopping` ends the answers that would never come."""

    def __init__(self, world: World, faults: Faults, stopping: asyncio.Event) -> None:
        self._world = world
        self._faults = faults
        self._stopping = stopping

    async def answer(self, request: web.Request, handler: RequestHandler) -> web.StreamResponse:
        """The handler's answer, spoilt by the faults that hit this request."""
        struck = self._faults.strike(request.path, request[NOW])
        for fault, since in struck:
            self._shift(request, fault, since)
        for fault, _ in struck:
            if fault.kind is FaultKind.SLOW:
                await self._wait(fault.delay_seconds)
            elif (replacement := await self._replace(request, fault)) is not None:
                return replacement
        response = await handler(request)
        for fault, _ in struck:
            if isinstance(response, web.Response) and fault.kind in _SPOILERS:
                _SPOILERS[fault.kind](response, fault)
            elif isinstance(response, web.Response) and fault.kind is FaultKind.TRUNCATED_BODY:
                return await _break_off(request, response)
        return response

    def _shift(self, request: web.Request, fault: Fault, since: datetime) -> None:
        """Move the request's time, or what else the handlers look at."""
        match fault.kind:
            case FaultKind.STALE:
                request[NOW] = since
            case FaultKind.OLDER_HEIGHT:
                request[NOW] -= timedelta(seconds=fault.back_seconds)
            case FaultKind.CATCHING_UP:
                request[CATCHING_UP] = True
            case FaultKind.PRUNED:
                request[LOWEST_HEIGHT] = max(1, self._world.at(request[NOW]).height - fault.keep_blocks)
            case _:
                pass

    async def _replace(self, request: web.Request, fault: Fault) -> web.StreamResponse | None:
        """An answer in the handler's place, None where the handler is to answer."""
        match fault.kind:
            case FaultKind.TOO_MANY_REQUESTS | FaultKind.UNAVAILABLE:
                headers = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
                return web.Response(status=int(fault.kind), text="[X]", headers=headers)
            case FaultKind.SERVER_ERROR:
                return json_reply({"detail": "Internal Server Error"}, 500)
            case FaultKind.TIMEOUT:
                await self._wait(None)
                return web.Response(status=503)
            case FaultKind.REDIRECT:
                return web.Response(status=302, headers={"Location": fault.location + request.path_qs})
            case FaultKind.HUGE_BODY:
                return await _huge(request, fault.size_bytes)
            case _:
                return None

    async def _wait(self, seconds: float | None) -> None:
        """Wait so long (None: for ever), but no longer than the client or the simulator stay."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


def _cut_lists(response: web.Response, keep: int) -> None:
    """Leave so many rows in every list of objects of a JSON answer: the answer stays well-formed."""
    body = response.body
    if isinstance(body, bytes) and response.content_type == "application/json":
        response.body = json.dumps(_cut(json.loads(body), keep, 2)).encode()


def _cut(value: Any, keep: int, depth: int) -> Any:
    if not isinstance(value, dict) or not depth:
        return value
    return {key: part[:keep] if isinstance(part, list) else _cut(part, keep, depth - 1) for key, part in value.items()}


def _leave_out_rows(response: web.Response, every: int) -> None:
    """Leave out one in `every` rows of each list of objects, without a trace of them in the answer."""
    body = response.body
    if isinstance(body, bytes) and response.content_type == "application/json":
        value = json.loads(body)
        for key, part in value.items() if isinstance(value, dict) else ():
            if isinstance(part, list):
                value[key] = [row for number, row in enumerate(part, start=1) if number % every]
        response.body = json.dumps(value).encode()


def _miscount(response: web.Response, off_by_gnk: int) -> None:
    """Add so much to a tracker's own total of an epoch, where there is one."""
    body = response.body
    if isinstance(body, bytes) and response.content_type == "application/json":
        value = json.loads(body)
        if isinstance(value, dict) and value.get(TOTAL_KEY) is not None:
            response.body = json.dumps(value | {TOTAL_KEY: value[TOTAL_KEY] + off_by_gnk}).encode()


_SPOILERS: dict[FaultKind, Callable[[web.Response, Fault], None]] = {
    FaultKind.EMPTY_LIST: lambda response, _: _cut_lists(response, 0),
    FaultKind.TRUNCATED_LIST: lambda response, fault: _cut_lists(response, fault.keep),
    FaultKind.MISSING_ROWS: lambda response, fault: _leave_out_rows(response, fault.every),
    FaultKind.WRONG_TOTAL: lambda response, fault: _miscount(response, fault.off_by_gnk),
}


async def _break_off(request: web.Request, response: web.Response) -> web.StreamResponse:
    """Announce the whole body, send half of it and close the connection."""
    body = response.body if isinstance(response.body, bytes) else b""
    broken = web.StreamResponse(headers={"Content-Type": "application/json"})
    broken.content_length = len(body)
    await broken.prepare(request)
    await broken.write(body[: len(body) // 2])
    if request.transport:
        request.transport.close()
    return broken


async def _huge(request: web.Request, size: int) -> web.StreamResponse:
    """Well-formed JSON with a lot of nothing in it."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(b'{"participants": [')
    for _ in range(max(0, size - 20) // len(_CHUNK) + 1):
        await response.write(_CHUNK)
    await response.write(b"]}")
    return response
