"""The API: nodes and earnings as JSON and CSV, live changes, and the page."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final
from uuid import UUID

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, JSONResponse, Response
from prometheus_client import CollectorRegistry
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from services.api import openapi
from services.api.access import Access, StoredKey
from services.api.context import Api, RateLimit
from services.api.feed import Feed
from services.api.middleware import BodyLimit, HeadToo, Measured, PathParts, ResponseHeaders
from services.api.problems import add_handlers
from services.api.refreshing import Asking, Refresher
from services.api.remembering import Shared, Versioned
from services.api.routes import PROBLEMS, earnings, fleet, keys, live, nodes, users
from services.api.schemas import Scope
from services.api.static import PAGE, PageFiles
from services.api.store import access as access_store
from services.api.store import changes as changes_store
from services.api.store import earnings as earnings_store
from services.api.store import fleet as fleet_store
from services.api.subscribers import Subscribers
from services.kernel.database import Database
from services.kernel.settings import ApiSettings, DatabaseSettings, KafkaSettings

_STATEMENT_SECONDS: Final = 10
_SMALLEST_TO_COMPRESS: Final = 4096
_REMEMBERED_SECONDS: Final = 60.0
_REMEMBERED_WINDOWS_SECONDS: Final = 600.0
_SHARED_SECONDS: Final = 1.0
_TIME_ZONES_SECONDS: Final = 3600.0


def create_app(
    settings: ApiSettings, database_settings: DatabaseSettings, kafka: KafkaSettings, registry: CollectorRegistry
) -> FastAPI:
    """Wire the API: it reads PostgreSQL under a role that can do nothing else, and asks ingest over Kafka."""
    reads = Database(
        database_settings,
        application="minegnk.api",
        role="minegnk_api",
        size=settings.connections,
        statement_seconds=_STATEMENT_SECONDS,
    )
    writes = Database(
        database_settings,
        application="minegnk.api.admin",
        role="minegnk_admin",
        size=2,
        statement_seconds=_STATEMENT_SECONDS,
    )
    feed = Feed(partial(_look, reads, settings))
    asking = Asking(kafka)
    api = Api(
        settings=settings,
        reads=reads,
        writes=writes,
        access=Access(settings, partial(_find_key, reads)),
        rate=RateLimit(settings.requests_a_minute),
        feed=feed,
        refresher=Refresher(asking, partial(_due, reads), registry),
        subscribers=Subscribers(settings.subscribers, registry),
        details=Versioned(_REMEMBERED_SECONDS),
        windows=Versioned(_REMEMBERED_WINDOWS_SECONDS),
        summary=Shared(partial(fleet.read_summary, reads, settings.ttl), _SHARED_SECONDS),
        time_zones=Shared(partial(_time_zones, reads), _TIME_ZONES_SECONDS),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as running:
            for part in (reads, writes, asking, api.refresher, feed):
                await running.enter_async_context(part)
            yield

    app = FastAPI(
        title="MineGNK",
        version="1",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.api = api
    routes = APIRouter(prefix="/api/v1", responses=PROBLEMS)
    for module in (nodes, earnings, fleet, users, keys, live):
        routes.include_router(module.router)
    app.include_router(routes)
    _add_own_pages(app, api)
    add_handlers(app)
    app.add_middleware(GZipMiddleware, minimum_size=_SMALLEST_TO_COMPRESS, compresslevel=4)
    if origins := [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "PUT", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID", "If-None-Match"],
            expose_headers=["ETag", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After"],
        )
    app.add_middleware(BodyLimit)
    app.add_middleware(ResponseHeaders)
    app.add_middleware(PathParts)
    app.add_middleware(HeadToo)
    app.add_middleware(Measured, registry=registry)
    return app


def _add_own_pages(app: FastAPI, api: Api) -> None:
    """The page, the OpenAPI document, and what a supervisor asks for."""
    document = openapi.document(app)

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    async def openapi_document() -> Response:
        return JSONResponse(document, headers={"Cache-Control": "public, max-age=300"})

    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        if api.feed.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "waiting", "for": "the database: it has not answered yet"}, 503)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", PageFiles())


async def _look(reads: Database, settings: ApiSettings, since: str | None) -> changes_store.Look:
    async with reads.connection() as connection:
        return await changes_store.look(connection, since, settings.ttl)


async def _find_key(reads: Database, key_id: UUID) -> StoredKey | None:
    async with reads.connection() as connection:
        row = await access_store.key(connection, key_id)
    if row is None:
        return None
    return StoredKey(row["secret_sha256"], frozenset(map(Scope, row["scopes"])), row["user_id"])


async def _time_zones(reads: Database) -> frozenset[str]:
    async with reads.connection() as connection:
        return await earnings_store.time_zones(connection)


async def _due(reads: Database, source: str) -> bool:
    async with reads.connection() as connection:
        return await fleet_store.poll_is_due(connection, source)
