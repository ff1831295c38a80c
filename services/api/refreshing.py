"""Asking ingest to poll the source of a stale reading: once at a time, and never more often than it polls anyway."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog
from aiokafka.errors import KafkaError
from mode import Service
from prometheus_client import CollectorRegistry, Counter

from services.kernel.publisher import KafkaPublisher
from services.kernel.refresh import ask_for_poll
from services.kernel.settings import KafkaSettings

LEAST_SECONDS: Final = 5.0
"""Between two requests for one source, whatever its interval."""

_log = structlog.get_logger(__name__)

Ask = Callable[[str], Awaitable[None]]
"""Asks for a source's poll; returns once Kafka has the request, raises KafkaError."""

Due = Callable[[str], Awaitable[bool]]
"""Whether the source has not been polled within its interval."""


class Refresher(Service):
    """Takes wishes at once and asks in the background. Without Kafka wishes are forgotten: later reads repeat them."""

    mundane_level = "debug"

    def __init__(self, ask: Ask, due: Due, registry: CollectorRegistry) -> None:
        super().__init__()
        self._ask = ask
        self._due = due
        self._asked: dict[str, float] = {}
        self._wishes: dict[str, None] = {}
        self._wished = asyncio.Event()
        self._requests = Counter(
            "minegnk_api_refresh_requests", "Polls that were asked for.", ["outcome"], registry=registry
        )

    def want(self, sources: Iterable[str]) -> None:
        """Note that these sources' readings are stale."""
        now = time.monotonic()
        for source in sources:
            if now - self._asked.get(source, -LEAST_SECONDS) >= LEAST_SECONDS:
                self._asked[source] = now
                self._wishes[source] = None
                self._wished.set()

    @Service.task
    async def _run(self) -> None:
        while not self.should_stop:
            await self.wait(self._wished.wait())
            self._wished.clear()
            while self._wishes:
                source, _ = self._wishes.popitem()
                try:
                    if await self._due(source):
                        await self._ask(source)
                        self._requests.labels("sent").inc()
                        _log.info("refresh_requested", source=source)
                    else:
                        self._requests.labels("not_due").inc()
                except KafkaError as error:
                    self._requests.labels("failed").inc()
                    _log.warning("refresh_not_requested", source=source, error=repr(error))
                except Exception as error:  # the database is away: the next stale read repeats the wish
                    self._requests.labels("failed").inc()
                    _log.warning("refresh_not_decided", source=source, error=repr(error))


class Asking(Service):
    """Asks over Kafka. It connects at the first request, so that reading goes on where there is no Kafka."""

    mundane_level = "debug"

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__()
        self._settings = settings
        self._publisher: KafkaPublisher | None = None

    async def __call__(self, source: str) -> None:
        """Ask for a poll of the source; raises KafkaError."""
        if self._publisher is None:
            publisher = KafkaPublisher(self._settings)
            await publisher.start()
            self._publisher = publisher
        await ask_for_poll(self._publisher, source, requested_by="api")

    async def on_stop(self) -> None:
        """Close the connection, if there was any."""
        if self._publisher is not None:
            await self._publisher.stop()
