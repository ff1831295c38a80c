"""The push API's server, a part of ingest: an answer of 202 says that Kafka has what was accepted."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from math import ceil
from time import perf_counter, time
from typing import Any, Final, NamedTuple

import structlog
from aiohttp import web
from aiokafka.errors import KafkaError
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from mode import Service
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.ingest.push.bodies import Item, Room, items_of, read_body
from services.ingest.push.problems import ProblemError, item_problem
from services.kernel.errors import InvalidRecordError
from services.kernel.events import EarningsReport, Event, NodeReading
from services.kernel.judging import Judge, judge_of
from services.kernel.keys import PUSH_KEYS
from services.kernel.publisher import KafkaPublisher
from services.kernel.push_keys import KeyRing, Kind, PushKey
from services.kernel.settings import PushSettings
from services.kernel.wire import OutgoingRecord, encode, encode_json

CLOCK_MARGIN: Final = timedelta(minutes=1)
"""The broker's clock judges what is in the future; it may be so far behind ours."""

OTHER_SOURCE: Final = "other_source"
_STOP_SECONDS: Final = 3.0
_BACKLOG: Final = 2048
_AWAY_RETRY_SECONDS: Final = 5
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_EVENT_CLASSES: Final[dict[Kind, type[NodeReading] | type[EarningsReport]]] = {
    "readings": NodeReading,
    "earnings": EarningsReport,
}

_log = structlog.get_logger(__name__)


class _Verdicts(NamedTuple):
    """What becomes of a request's items: records for Kafka, and a problem for each of the others."""

    records: list[OutgoingRecord]
    problems: list[dict[str, Any]]


class PushServer(Service):
    """Takes events over HTTP. Its port is listened on from the start; without its keys it answers 503."""

    mundane_level = "debug"

    def __init__(
        self, settings: PushSettings, keys: KeyRing, publisher: KafkaPublisher, registry: CollectorRegistry
    ) -> None:
        super().__init__()
        self._settings = settings
        self._keys = keys
        self._publisher = publisher
        self._judges: dict[Kind, Judge[Any]] = {
            kind: judge_of(event_class, clock_margin=CLOCK_MARGIN) for kind, event_class in _EVENT_CLASSES.items()
        }
        self._room = Room(settings.buffer)
        self._limit = RateLimitItemPerMinute(settings.rate_limit) if settings.rate_limit else None
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._runner: web.AppRunner | None = None
        self._requests = Counter("minegnk_push_requests", "Requests by answer.", ["kind", "status"], registry=registry)
        self._events = Counter(
            "minegnk_push_events",
            "Events by what became of them: accepted (Kafka has them), or why they were refused.",
            ["kind", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "minegnk_push_request_seconds",
            "Seconds from a request's headers to its answer.",
            ["kind"],
            buckets=_BUCKETS,
            registry=registry,
        )
        Gauge("minegnk_push_buffer_bytes", "Bytes of bodies under way.", registry=registry).set_function(
            lambda: self._room.taken
        )

    async def on_start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        app = web.Application(middlewares=[_problems])
        for kind in _EVENT_CLASSES:
            app.router.add_post(f"/v1/{kind}", self._handler(kind))
        self._runner = web.AppRunner(
            app, access_log=None, auto_decompress=False, shutdown_timeout=_STOP_SECONDS, handle_signals=False
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self._settings.host, self._settings.port, backlog=_BACKLOG).start()
        _log.info("push_serving", host=self._settings.host, port=self._settings.port)

    async def on_stop(self) -> None:
        """Stop listening; requests under way get their answers, or some seconds."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _handler(self, kind: Kind) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            began = perf_counter()
            try:
                response = await self._take(kind, request)
            except ProblemError as problem:
                response = problem.response()
            self._requests.labels(kind, str(response.status)).inc()
            self._seconds.labels(kind).observe(perf_counter() - began)
            return response

        return handle

    async def _take(self, kind: Kind, request: web.Request) -> web.Response:
        key = self._key_of(request)
        if kind not in key.kinds:
            raise ProblemError(HTTPStatus.FORBIDDEN, "forbidden", f"This key may not publish {kind}.")
        with self._room.share() as take:
            body = await read_body(request, self._settings, take)
            items = items_of(request, body, self._settings.item_limit)
            await self._count(key, len(items))
            records, problems = await self._judged(kind, key, items)
            await self._published(records)
        self._tell(kind, len(records), problems)
        if not records:
            raise _refused(problems)
        answer = {"accepted": len(records), "rejected": len(problems), "problems": problems}
        return web.Response(body=encode_json(answer), status=HTTPStatus.ACCEPTED, content_type="application/json")

    def _key_of(self, request: web.Request) -> PushKey:
        """Whose request it is. Raises ProblemError (401) where nobody knows."""
        if not self._keys.complete:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "starting",
                "The keys have not been read yet: send this again.",
                retry_after=_AWAY_RETRY_SECONDS,
            )
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if not token or scheme.lower() != "bearer":
            raise ProblemError(
                HTTPStatus.UNAUTHORIZED, "unauthorized", "Send a producer's key: `Authorization: Bearer KEY`."
            )
        sent = PUSH_KEYS.read(token.strip())
        key = None if sent is None else self._keys.get(sent.key_id)
        if sent is None or key is None or not sent.proves(key.secret_sha256) or not key.holds(datetime.now(UTC)):
            raise ProblemError(
                HTTPStatus.UNAUTHORIZED, "unauthorized", "This key is not known, or no longer valid: ask for another."
            )
        return key

    async def _count(self, key: PushKey, items: int) -> None:
        """Count against the key's rate. Raises ProblemError (429) above it."""
        if self._limit is None or await self._limiter.hit(self._limit, str(key.id), cost=items):
            return
        reset, _ = await self._limiter.get_window_stats(self._limit, str(key.id))
        raise ProblemError(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too_many_events",
            f"At most {self._limit.amount} events a minute of each key: go on later.",
            retry_after=max(1, ceil(reset - time())),
        )

    async def _judged(self, kind: Kind, key: PushKey, items: Sequence[Item]) -> _Verdicts:
        """Give each item the verdict that consumers would give its record, and see that it is of the key's source."""
        judge = self._judges[kind]
        verdicts = _Verdicts([], [])
        for index, item in enumerate(items):
            if index % 500 == 499:
                await asyncio.sleep(0)  # others want their turn as well
            event: Event | InvalidRecordError = judge(item.value, item.headers)
            if isinstance(event, InvalidRecordError):
                verdicts.problems.append(item_problem(index, event))
            elif event.source != key.source:
                detail = f"This key publishes as {key.source} only, not as {event.source}."
                verdicts.problems.append({"index": index, "code": OTHER_SOURCE, "detail": detail, "field": "source"})
            else:
                verdicts.records.append(encode(event))
        return verdicts

    async def _published(self, records: Sequence[OutgoingRecord]) -> None:
        """Return when Kafka has them all. Raises ProblemError (503) where it did not say so: it may have some."""
        if not records:
            return
        try:
            async with asyncio.timeout(self._settings.timeout.total_seconds()):
                await self._publisher.send(records)
        except (KafkaError, TimeoutError) as error:
            _log.warning("push_not_acknowledged", events=len(records), error=repr(error))
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "not_acknowledged",
                "Kafka did not confirm these events: send them again. Those that it has will not count twice.",
                retry_after=_AWAY_RETRY_SECONDS,
            ) from None

    def _tell(self, kind: Kind, accepted: int, problems: Sequence[dict[str, Any]]) -> None:
        self._events.labels(kind, "accepted").inc(accepted)
        for problem in problems:
            self._events.labels(kind, problem["code"]).inc()


def _refused(problems: Sequence[dict[str, Any]]) -> ProblemError:
    more = {"accepted": 0, "rejected": len(problems), "problems": problems}
    if all(problem["code"] == OTHER_SOURCE for problem in problems):
        return ProblemError(HTTPStatus.FORBIDDEN, OTHER_SOURCE, problems[0]["detail"], more=more)
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "no_valid_event", "No event was accepted.", more=more)


@web.middleware
async def _problems(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """Make a problem document of whatever else goes wrong."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        status = HTTPStatus(error.status)
        response = ProblemError(status, status.phrase.lower().replace(" ", "_"), _HELP.get(status, "")).response()
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:
        _log.exception("push_failed", path=request.path)
        return ProblemError(
            HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "This is a defect: its trace is in ingest's log."
        ).response()


_HELP: Final = {
    HTTPStatus.NOT_FOUND: "Events go to POST /v1/readings or POST /v1/earnings.",
    HTTPStatus.METHOD_NOT_ALLOWED: "Events are sent with POST.",
}
