"""GET of JSON from trackers: a rate budget per host, Retry-After, limits on time and size, public hosts only.

Whatever goes wrong is a SourceError whose text names the host and the endpoint's path, never a query or credentials.
"""

import asyncio
import json
import re
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import NoReturn

import httpx

from services.ingest.clock import Clock
from services.ingest.outbound import PublicTransport, proxy_for
from services.kernel.errors import SourceError

BODY_LIMIT = 64 * 2**20
_MAX_REDIRECTS = 3
_CONNECT_SECONDS = 5.0  # of each of a host's addresses
_GZIP = 16 + zlib.MAX_WBITS
_MAX_HOLD_SECONDS = 3600.0
_HOLD_AFTER_429_SECONDS = 20.0  # without Retry-After: what gonka-tracker itself sleeps
_SECONDS = re.compile(r"\d{1,9}(\.\d+)?", re.ASCII)

Params = Mapping[str, str | int]


class NotFoundError(SourceError):
    """The host does not have this endpoint or this item (404, or 501 as the chain's gateway says it)."""


class TokenBucket:
    """At most `per_minute` requests at once, refilled evenly over a minute."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._tokens = self._capacity
        self._clock = clock
        self._filled_at = clock.monotonic()

    async def take(self, *, background: bool = False) -> None:
        """Wait for a token. Background work leaves half of the budget to polls."""
        needed = 1 + (min(self._capacity / 2, self._capacity - 1) if background else 0)
        while True:
            now = self._clock.monotonic()
            self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._per_second)
            self._filled_at = now
            if self._tokens >= needed - 1e-9:
                self._tokens -= 1
                return
            await self._clock.sleep((needed - self._tokens) / self._per_second)


class Fetcher:
    """The HTTP client of one source. Close it with `aclose`."""

    def __init__(
        self,
        *,
        requests_per_minute: int,
        timeout: timedelta,
        clock: Clock,
        body_limit: int = BODY_LIMIT,
        allow_private: bool = False,
        new_transport: Callable[[], httpx.AsyncBaseTransport] = PublicTransport,
    ) -> None:
        self._per_minute = requests_per_minute
        self._timeout = timeout.total_seconds()
        self._clock = clock
        self._body_limit = body_limit
        self._buckets: dict[str, TokenBucket] = {}
        self._held_until: dict[str, float] = {}
        self._new_transport = httpx.AsyncHTTPTransport if allow_private else new_transport
        self._clients: dict[str | None, httpx.AsyncClient] = {}  # by proxy; None: without one

    async def aclose(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.aclose()

    def _client(self, url: httpx.URL) -> httpx.AsyncClient:
        proxy = proxy_for(url)
        if proxy not in self._clients:
            # A proxy looks names up by itself, and where it connects to is its own rule.
            transport = self._new_transport() if proxy is None else httpx.AsyncHTTPTransport(proxy=proxy)
            self._clients[proxy] = httpx.AsyncClient(
                transport=transport,
                timeout=httpx.Timeout(self._timeout, connect=min(self._timeout, _CONNECT_SECONDS)),
                follow_redirects=False,
                headers={"accept": "application/json", "accept-encoding": "gzip", "user-agent": "minegnk"},
            )
        return self._clients[proxy]

    async def get_json(
        self, base_url: str, path: str, params: Params | None = None, *, background: bool = False
    ) -> object:
        """The JSON at base_url + path; numbers with a fraction as Decimal.

        Waits for the host's budget; a host that asked us to wait (Retry-After) is not asked before. Raises SourceError,
        NotFoundError for 404 and 501.
        """
        url = httpx.URL(base_url + path, params=dict(params)) if params else httpx.URL(base_url + path)
        where = f"{url.host}{path.partition('?')[0]}"
        for _ in range(_MAX_REDIRECTS + 1):
            await self._admission(url, background)
            try:
                async with asyncio.timeout(self._timeout):
                    body = await self._request(url, where)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                raise SourceError(f"{where}: cannot connect") from None
            except (TimeoutError, httpx.TimeoutException):
                raise SourceError(f"{where}: timed out after {self._timeout:g} s") from None
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise SourceError(f"{where}: connection failed ({type(error).__name__})") from None
            if isinstance(body, bytes):
                return _json(body, where)
            url = body
        raise SourceError(f"{where}: too many redirects")

    async def _admission(self, url: httpx.URL, background: bool) -> None:
        host = url.netloc.decode("ascii", "replace")
        bucket = self._buckets.setdefault(host, TokenBucket(self._per_minute, self._clock))
        self._check_hold(url.host, host)
        await bucket.take(background=background)
        self._check_hold(url.host, host)  # another request may have been refused meanwhile

    def _check_hold(self, name: str, host: str) -> None:
        wait = self._held_until.get(host, float("-inf")) - self._clock.monotonic()
        if wait > 0:
            raise SourceError(f"{name}: asked us to wait, {wait:.0f} s are left")

    async def _request(self, url: httpx.URL, where: str) -> bytes | httpx.URL:
        """The body of a 200, or where the same host redirects us to."""
        async with self._client(url).stream("GET", url) as response:
            if response.is_redirect:
                return _redirect(url, response, where)
            if response.status_code != httpx.codes.OK:
                self._refused(url, response, where)
            return await self._body(response, where)

    async def _body(self, response: httpx.Response, where: str) -> bytes:
        """The body, unpacked. Never more than the limit of it is held, whatever a compressed one would unpack to."""
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip"):
            raise SourceError(f"{where}: the reply has an encoding that was not asked for")
        unpack = zlib.decompressobj(wbits=_GZIP) if encoding == "gzip" else None
        body = bytearray()
        async for chunk in response.aiter_raw():
            try:
                body += chunk if unpack is None else unpack.decompress(chunk, self._body_limit + 1 - len(body))
            except zlib.error:
                raise SourceError(f"{where}: the reply is not gzip, as it says") from None
            if len(body) > self._body_limit:
                raise SourceError(f"{where}: the reply is larger than {self._body_limit} bytes")
        return bytes(body)

    def _refused(self, url: httpx.URL, response: httpx.Response, where: str) -> NoReturn:
        status = response.status_code
        if status in (429, 503):
            hold = self._retry_after(response.headers.get("retry-after"))
            if hold is None and status == httpx.codes.TOO_MANY_REQUESTS:
                hold = _HOLD_AFTER_429_SECONDS
            if hold:
                self._held_until[url.netloc.decode("ascii", "replace")] = self._clock.monotonic() + hold
        if status in (404, 501):
            raise NotFoundError(f"{where}: HTTP {status}")
        raise SourceError(f"{where}: HTTP {status}")

    def _retry_after(self, value: str | None) -> float | None:
        """Seconds to wait, from either form of the header (RFC 9110 §10.2.3)."""
        if value is None:
            return None
        if _SECONDS.fullmatch(value.strip()):
            return min(float(value), _MAX_HOLD_SECONDS)
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - self._clock.now()
        return min(max(wait.total_seconds(), 0.0), _MAX_HOLD_SECONDS)


def _redirect(url: httpx.URL, response: httpx.Response, where: str) -> httpx.URL:
    target = url.join(response.headers.get("location", ""))
    upgraded = (url.scheme, target.scheme) == ("http", "https") and url.port is None and target.port is None
    if target.host != url.host or (not upgraded and (target.scheme, target.port) != (url.scheme, url.port)):
        raise SourceError(f"{where}: redirects to another host")
    return target


def _json(body: bytes, where: str) -> object:
    if not body.strip():
        raise SourceError(f"{where}: empty reply")
    try:
        parsed: object = json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError, ArithmeticError):
        raise SourceError(f"{where}: the reply is not JSON, or was cut short") from None
    return parsed


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
