"""The simulator's own routes under /_simulator: what it has done, what is true, and the fault switches."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime

from aiohttp import web

from services.kernel.errors import ConfigurationError
from services.simulator.faults import Faults, parse_fault
from services.simulator.replies import Json, json_reply, query_number
from services.simulator.timeline import FIRST_EPOCH
from services.simulator.world import World

PREFIX = "/_simulator"


class ControlApi:
    """Routes for tests, `make run` and people."""

    def __init__(self, world: World, clock: Callable[[], datetime], faults: Faults, requests: Counter[str]) -> None:
        self._world = world
        self._clock = clock
        self._faults = faults
        self._requests = requests

    def routes(self) -> list[web.RouteDef]:
        """Every route with its handler."""
        return [
            web.get(f"{PREFIX}/state", self.state),
            web.get(f"{PREFIX}/payments", self.payments),
            web.post(f"{PREFIX}/faults", self.turn_on),
            web.get(f"{PREFIX}/faults", self.show_faults),
            web.delete(f"{PREFIX}/faults", self.clear),
        ]

    async def state(self, request: web.Request) -> web.Response:
        """Where the world stands, and how often which route was asked."""
        now = self._clock()
        moment = self._world.at(now)
        return json_reply(
            {
                "now": now.isoformat(),
                "started_at": self._world.started_at.isoformat(),
                "epoch": moment.running_epoch,
                "height": moment.height,
                "first_epoch": FIRST_EPOCH,
                "last_past_epoch": self._world.timeline.last_past_epoch,
                "settled_epochs": moment.settled_epoch - FIRST_EPOCH + 1,
                "settled_epoch": moment.settled_epoch,
                "next_settlement_at": self._world.timeline.settled_at(moment.running_epoch).isoformat(),
                "hosts": len(self._world.listed(moment)),
                "active_hosts": len(self._world.epoch(moment.effective_epoch).members),
                "requests": dict(self._requests),
                "faults": self._faults.active(now),
            }
        )

    async def payments(self, request: web.Request) -> web.Response:
        """The truth about settled epochs; `?published=true`: what the summaries say at this moment instead."""
        now = self._clock()
        settled = self._world.at(now).settled_epoch
        first = query_number(request, "from_epoch")
        last = query_number(request, "to_epoch")
        rows: list[Json] = []
        for epoch in range(max(FIRST_EPOCH, first or 0), min(settled, settled if last is None else last) + 1):
            rows += self._epoch_rows(epoch, now, published=request.query.get("published") == "true")
        return json_reply(rows)

    async def turn_on(self, request: web.Request) -> web.Response:
        """Turn a fault on."""
        try:
            fault = parse_fault(await request.read())
        except ConfigurationError as error:
            return json_reply({"detail": str(error)}, 422)
        self._faults.turn_on(fault, self._clock())
        return json_reply(fault.model_dump(mode="json"), 201)

    async def show_faults(self, request: web.Request) -> web.Response:
        """The faults that are on."""
        return json_reply(self._faults.active(self._clock()))

    async def clear(self, request: web.Request) -> web.Response:
        """Turn all faults off."""
        self._faults.clear()
        return web.Response(status=204)

    def _epoch_rows(self, epoch: int, now: datetime, *, published: bool) -> list[Json]:
        world = self._world
        settled_at = world.timeline.settled_at(epoch).isoformat()
        restated_at = world.restated_at(epoch)
        payments = world.published(epoch, world.publication(epoch, now)) if published else world.payments(epoch)
        return [
            {
                "epoch": epoch,
                "address": row.address,
                "work_ngonka": str(row.work_ngonka),
                "reward_ngonka": str(row.reward_ngonka),
                "amount_ngonka": str(row.amount_ngonka),
                "settled_at": settled_at,
                "settled_height": world.timeline.settlement_height(epoch),
                "restated_at": restated_at.isoformat() if restated_at else None,
            }
            for row in payments
        ]
