"""The simulator as one HTTP server: a node of the chain, two trackers and a control API, on an injected clock."""

import asyncio
import errno
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from services.kernel.errors import UnavailableError
from services.simulator.chain import ChainApi
from services.simulator.clock import utc_now
from services.simulator.control import PREFIX as CONTROL
from services.simulator.control import ControlApi
from services.simulator.faults import Fault, FaultInjector, Faults
from services.simulator.public_api import PublicApi
from services.simulator.replies import LOWEST_HEIGHT, NOW, RequestHandler, grpc_error, json_reply
from services.simulator.rpc import RpcApi
from services.simulator.tracker import TrackerApi
from services.simulator.world import World, WorldSettings

GONKASCAN_PREFIX = "/gonkascan"


@dataclass(frozen=True)
class Simulator:
    """A simulator that listens: where it is, its world, its switches and the requests it has had by route."""

    base_url: str
    world: World
    faults: Faults
    requests: Counter[str]
    clock: Callable[[], datetime]


def create_app(world: World, clock: Callable[[], datetime], faults: Faults, requests: Counter[str]) -> web.Application:
    """Every route, counted and under the faults; /_simulator is neither."""
    stopping = asyncio.Event()
    injector = FaultInjector(world, faults, stopping)

    @web.middleware
    async def count_and_answer(request: web.Request, handler: RequestHandler) -> web.StreamResponse:
        if request.path.startswith(CONTROL):
            return await handler(request)
        resource = request.match_info.route.resource
        requests[resource.canonical if resource else "unknown"] += 1
        request[NOW] = clock()
        try:
            return await injector.answer(request, _at_asked_height(world, handler))
        except web.HTTPException as error:
            return json_reply({"detail": error.reason}, error.status)

    async def stop(_: web.Application) -> None:
        stopping.set()

    app = web.Application(middlewares=[count_and_answer])
    for api in (
        PublicApi(world),
        ChainApi(world),
        RpcApi(world),
        TrackerApi(world),
        TrackerApi(world, GONKASCAN_PREFIX, places=True),
        ControlApi(world, clock, faults, requests),
    ):
        app.add_routes(api.routes())
    app.on_shutdown.append(stop)
    return app


def _at_asked_height(world: World, handler: RequestHandler) -> RequestHandler:
    """The handler, for the state at the height that a gateway's client asks for (X-Cosmos-Block-Height)."""

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("X-Cosmos-Block-Height", "")
        if request.path.startswith("/chain-api/") and asked.isascii() and asked.isdigit():
            height, newest = int(asked), world.at(request[NOW]).height
            if not request.get(LOWEST_HEIGHT, 1) <= height <= newest:
                return grpc_error(500, 2, f"failed to load state at height {height}; no commit info found")
            request[NOW] = world.timeline.block_time(height)
        return await handler(request)

    return handle


@asynccontextmanager
async def running(
    settings: WorldSettings | None = None,
    clock: Callable[[], datetime] = utc_now,
    host: str = "127.0.0.1",
    port: int = 0,
    faults: Iterable[Fault] = (),
) -> AsyncIterator[Simulator]:
    """Serve in this event loop until the block ends; port 0 takes a free one.

    Raises UnavailableError when the address cannot be listened on.
    """
    settings = settings or WorldSettings()
    world = World(settings, clock())
    switches = Faults(settings.seed)
    for fault in faults:
        switches.turn_on(fault, clock())
    requests: Counter[str] = Counter()
    app = create_app(world, clock, switches, requests)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise UnavailableError(_why_not_listening(host, port, error)) from None
        yield Simulator(_base_url(runner), world, switches, requests, clock)
    finally:
        await runner.cleanup()


def _base_url(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _why_not_listening(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use: choose another with --port, or stop what listens there."
    return f"The simulator cannot listen on {host}, port {port} ({error.strerror}): choose another --host or --port."
