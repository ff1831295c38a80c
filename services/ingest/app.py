"""The ingest service: polls the trackers that are its duty and publishes what they say."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import faust
import structlog
from faust.types import TP, StreamT
from mode import Service
from prometheus_client import CollectorRegistry

from services.ingest.clock import SystemClock
from services.ingest.duty import Duty
from services.ingest.polling import Poller
from services.ingest.push.server import PushServer
from services.ingest.sources import Source
from services.ingest.telemetry import PollMetrics
from services.ingest.trackers.adapters import tracker_for
from services.kernel.app import faust_app, mount, serve_health
from services.kernel.errors import InvalidRecordError
from services.kernel.events import REFRESH_TOPIC, RefreshRequest
from services.kernel.publisher import KafkaPublisher
from services.kernel.push_keys import KeyRing
from services.kernel.settings import KafkaSettings, PushSettings, ServiceSettings
from services.kernel.tracing import tracing_for
from services.kernel.wire import Headers, decoder_for


class _Record(NamedTuple):
    """A Faust message as decoding takes a record."""

    value: bytes | None
    headers: Headers
    timestamp: int


class _DutyService(Service):
    """Runs the pollers; one that ends, ends the process."""

    def __init__(self, duty: Duty, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._duty = duty

    @Service.task
    async def _run(self) -> None:
        await self._duty.run()


def create_app(
    kafka: KafkaSettings,
    service: ServiceSettings,
    push: PushSettings,
    sources: Sequence[Source],
    registry: CollectorRegistry,
    *,
    refresh_partitions: int,
) -> faust.App:
    """Wire the service: polling duty follows the partitions of node.refresh.v1, an agent takes what is asked there.

    Beside it is the push API. `refresh_partitions` is how many partitions that topic has.
    """
    log = structlog.get_logger(__name__)
    app = faust_app("ingest", kafka, service)
    tracing = tracing_for("ingest")
    publisher = KafkaPublisher(kafka, tracing=tracing)
    clock = SystemClock()
    metrics = PollMetrics(registry)
    duty = Duty(
        sources,
        lambda source: Poller(source, tracker_for(source, clock), publisher, clock, metrics=metrics, tracing=tracing),
    )
    decode = decoder_for(RefreshRequest)
    keys = KeyRing(kafka)
    mount(app, *filter(None, [tracing]), publisher, _DutyService(duty))
    if push.port:
        mount(app, keys, PushServer(push, keys, publisher, registry))
    assigned = False

    def waits_for() -> str | None:
        if not assigned:
            return "no partitions assigned yet"
        return "the keys of producers have not been read yet" if push.port and not keys.complete else None

    serve_health(app, registry, waits_for)

    # An agent may lose a request when it fails: the next poll, or the next reconciliation, asks for the same.
    @app.agent(app.topic(REFRESH_TOPIC, key_serializer="raw", value_serializer="raw"))
    async def refresh(stream: StreamT[Any]) -> None:
        async for event in stream.events():
            message = event.message
            headers: Any = message.headers.items() if isinstance(message.headers, dict) else message.headers or ()
            try:
                request = decode(_Record(message.value, tuple(headers), round(message.timestamp * 1000)))
            except InvalidRecordError as error:
                log.warning("refresh_request_ignored", reason=error.reason, error=error.detail)
                continue
            log.info(
                "refresh_request_received", source=request.source, epoch=request.epoch, taken=duty.request(request)
            )

    # Only assignments change who polls: between a revocation and the next one the old poller goes on, harmlessly.
    @app.on_partitions_assigned.connect  # type: ignore[arg-type]  # its type forbids what its documentation shows
    async def follow(_: faust.App, partitions: set[TP], **__: object) -> None:
        nonlocal assigned
        await duty.assign({tp.partition for tp in partitions if tp.topic == REFRESH_TOPIC}, refresh_partitions)
        assigned = True
        log.info("duty_assigned", sources=sorted(duty.polled))

    return app
