"""The way MineGNK used to answer: each request calls a tracker, which takes its time.

Two servers of one process: a tracker that answers after so long, and a service that asks it about a node whenever
someone asks the service. The service's port is printed.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse


def tracker(seconds: float) -> FastAPI:
    """It answers about any node after so many seconds."""
    app = FastAPI()

    @app.get("/nodes/{identifier}")
    async def node(identifier: str) -> Response:
        await asyncio.sleep(seconds)
        return JSONResponse({"identifier": identifier, "status": "healthy", "earnings_total": "123.45678900"})

    return app


def service(tracker_url: str) -> FastAPI:
    """It asks the tracker for every request, over connections that stay open."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(base_url=tracker_url, limits=limits, timeout=60) as client:
            app.state.tracker = client
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/api/v1/nodes/{identifier}")
    async def node(identifier: str) -> Response:
        answer = await app.state.tracker.get(f"/nodes/{identifier}")
        return JSONResponse(answer.json())

    return app


async def _serve(seconds: float) -> None:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    port, tracker_port = (listener.getsockname()[1] for listener in listeners)
    apps = service(f"http://127.0.0.1:{tracker_port}"), tracker(seconds)
    servers = [uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)) for app in apps]
    print(port, flush=True)
    await asyncio.gather(
        *(server.serve(sockets=[listener]) for server, listener in zip(servers, listeners, strict=True))
    )


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
