"""What happens to every request and answer, whatever its route."""

from http import HTTPStatus
from time import perf_counter
from typing import Any, Final
from urllib.parse import unquote

from prometheus_client import CollectorRegistry, Histogram
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.problems import body_too_large

ADDED_HEADERS: Final = "minegnk.headers"
"""Where in a request's scope headers stand that its answer is to have, whichever it will be."""

SLASH: Final = "\x00"
"""Stands for a slash within a part of a path. No identifier has this character."""

_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_API_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
_HEADERS: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]

# The page follows Grafana's and Prometheus's custom of counting by route, never by path.
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class PathParts:
    """Keeps an encoded slash (%2F) within its part of the path: identifiers of ML nodes have one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        raw: bytes | None = scope.get("raw_path")
        if scope["type"] == "http" and raw is not None and b"%" in raw:
            parts = raw.split(b"?", 1)[0].decode("latin-1").split("/")
            scope = {**scope, "path": "/".join(map(_part, parts))}
        await self._app(scope, receive, send)


def _part(raw: str) -> str:
    return unquote(raw).replace(SLASH, "\ufffd").replace("/", SLASH)


class HeadToo:
    """Answers HEAD wherever GET is answered: the same, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        ended = False

        async def without_body(message: Message) -> None:
            nonlocal ended
            if message["type"] == "http.response.start":
                await send(message)
            elif not ended:  # the first piece; a stream is told by `receive` that nobody waits for more
                ended = True
                await send({"type": "http.response.body", "body": b""})

        await self._app({**scope, "method": "GET"}, receive, without_body)


class BodyLimit:
    """Refuses bodies that are longer than anything the API takes, before they are read."""

    BYTES: Final = 64 * 1024

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if next((int(value) for name, value in scope["headers"] if name == b"content-length"), 0) > self.BYTES:
            await body_too_large().response()(scope, receive, send)
            return
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.BYTES:  # an exception that FastAPI lets through while it reads a body
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return message

        await self._app(scope, bounded, send)


class ResponseHeaders:
    """Adds the headers that keep browsers safe, and what a route asked to be added."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        policy = _API_POLICY if scope["path"].startswith("/api/") else _PAGE_POLICY

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *_HEADERS,
                    (b"content-security-policy", policy.encode()),
                    *scope.get(ADDED_HEADERS, ()),
                ]
            await send(message)

        await self._app(scope, receive, with_headers)


class Measured:
    """Measures how long answers take, by route, method and status; streams count until they begin."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._seconds = Histogram(
            "minegnk_api_request_seconds",
            "Seconds until the answer began.",
            ["route", "method", "status"],
            buckets=_BUCKETS,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        inner = dict(scope)

        async def measured(message: Any) -> None:
            if message["type"] == "http.response.start":
                self._seconds.labels(_route_of(inner), scope["method"], str(message["status"])).observe(
                    perf_counter() - began
                )
            await send(message)

        await self._app(inner, receive, measured)


def _route_of(scope: Scope) -> str:
    """The route's pattern, whatever the path: labels must not grow with what is asked for."""
    route = scope.get("route")
    return getattr(route, "path", "other")
