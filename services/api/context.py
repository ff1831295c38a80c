"""What the routes work with, and who may use them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from math import ceil
from time import time
from typing import Annotated

from asyncpg import Record
from fastapi import Depends, Request
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from services.api.access import Access, Principal, forbidden, unauthorized
from services.api.answers import Written
from services.api.feed import Feed
from services.api.middleware import ADDED_HEADERS
from services.api.problems import ProblemError
from services.api.refreshing import Refresher
from services.api.remembering import Shared, Versioned
from services.api.schemas import Scope
from services.api.subscribers import Subscribers
from services.kernel.database import Database
from services.kernel.settings import ApiSettings


class RateLimit:
    """So many requests a minute of each caller, in this process."""

    def __init__(self, requests_a_minute: int) -> None:
        self._item = RateLimitItemPerMinute(requests_a_minute) if requests_a_minute else None
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def count(self, caller: str) -> dict[str, str]:
        """Count a request; returns the headers that tell the limit. Raises ProblemError (429) above it."""
        if self._item is None:
            return {}
        taken = await self._limiter.hit(self._item, caller)
        reset, remaining = await self._limiter.get_window_stats(self._item, caller)
        seconds = max(1, ceil(reset - time()))
        headers = {
            "RateLimit-Limit": str(self._item.amount),
            "RateLimit-Remaining": str(remaining),
            "RateLimit-Reset": str(seconds),
        }
        if not taken:
            raise ProblemError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too_many_requests",
                f"At most {self._item.amount} requests a minute: go on in {seconds} s.",
                headers={**headers, "Retry-After": str(seconds)},
            )
        return headers


@dataclass(frozen=True, slots=True)
class Api:
    """The parts of the running API."""

    settings: ApiSettings
    reads: Database
    writes: Database
    access: Access
    rate: RateLimit
    feed: Feed
    refresher: Refresher
    subscribers: Subscribers
    details: Versioned[Written]
    """Answers about nodes, without what changes as time passes."""
    windows: Versioned[list[Record]]
    """Nodes' windows, by what their earnings were."""
    summary: Shared[Written]
    time_zones: Shared[frozenset[str]]

    @property
    def ttl(self) -> timedelta:
        """After which a reading is stale."""
        return self.settings.ttl

    @property
    def private(self) -> bool:
        """Whether answers are for one caller: shared caches must not keep them."""
        return not self.settings.open


def api_of(request: Request) -> Api:
    """The API that this request came to."""
    api: Api = request.app.state.api
    return api


async def _api(request: Request) -> Api:
    return api_of(request)


def _caller(scope: Scope) -> Callable[[Request], Awaitable[Principal]]:
    async def caller(request: Request) -> Principal:
        api = api_of(request)
        address = request.client.host if request.client else "unknown"
        try:
            principal = await api.access.principal(request.headers.get("authorization"), address)
        except ProblemError:
            await api.rate.count(address)  # whoever tries keys out is slowed down as well
            raise
        headers = await api.rate.count(principal.name)
        request.scope[ADDED_HEADERS] = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        if not principal.may(scope):
            if "authorization" not in request.headers:
                raise unauthorized(f"This needs a key with the scope {scope.value}: `Authorization: Bearer KEY`.")
            raise forbidden(scope)
        return principal

    return caller


UsedApi = Annotated[Api, Depends(_api)]
Reader = Annotated[Principal, Depends(_caller(Scope.READ))]
Admin = Annotated[Principal, Depends(_caller(Scope.ADMIN))]
