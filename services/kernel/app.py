"""The runtime of a service: a Faust app with settings that suit services which must lose nothing.

Faust gives the worker, its timers, crontab, web pages and control agents. Readings and earnings are consumed by the
batch consumer instead: a Faust agent whose handler raises still commits what it was handling.
"""

import asyncio
import gc
import itertools
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import faust
import structlog
import uvloop
from aiokafka.errors import KafkaConnectionError
from faust.types import AppT
from faust.web import Request, Response, View
from mode import Service
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from services.kernel.consumer import BatchConsumer
from services.kernel.errors import UnavailableError
from services.kernel.settings import ConsumerSettings, KafkaSettings, ServiceSettings
from services.kernel.telemetry import configure_logging
from services.kernel.watchdog import Watchdog

_STOP_SECONDS = 7.0
"""From SIGTERM to the process's end at the latest; supervisors commonly kill after 10."""

_COLLECT_SECONDS = 15.0
_WHOLE_EVERY = 20  # collections: one of all objects, the others of those made since the one before

DEFAULT_METRICS_PORTS = {"ingest": 9100, "cache": 9101, "earnings": 9102, "api": 9103, "exporter": 9104}


def metrics_port(name: str, service: ServiceSettings) -> int:
    """The port on which the service `name` serves its metrics; 0: none."""
    return DEFAULT_METRICS_PORTS[name] if service.metrics_port is None else service.metrics_port


def faust_app(name: str, kafka: KafkaSettings, service: ServiceSettings) -> faust.App:
    """A Faust app for the service `name`, its consumer group `minegnk.<name>`."""
    port = metrics_port(name, service)
    return faust.App(
        f"minegnk.{name}",
        broker=";".join(f"kafka://{server.strip()}" for server in kafka.bootstrap_servers.split(",")),
        broker_credentials=_credentials(kafka),
        env_prefix="MINEGNK_FAUST_",  # stray variables such as WEB_PORT must not override what stands here
        store="memory://",
        datadir=Path(
            tempfile.gettempdir(), f"minegnk-{name}-{os.getuid()}"
        ),  # Faust insists on one; nothing is kept in it
        autodiscover=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        stream_wait_empty=False,
        broker_session_timeout=15.0,
        agent_supervisor="mode.CrashingSupervisor",
        consumer_auto_offset_reset="earliest",
        worker_redirect_stdouts=False,
        web_enabled=port != 0,
        web_bind=service.metrics_host,
        web_port=port or 1,  # Faust refuses 0; with the server off it means nothing
        web_graph_enabled=False,
        web_router_enabled=False,
        web_stats_enabled=False,
        web_tables_enabled=False,
    )


def _credentials(kafka: KafkaSettings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """What `client_arguments` says of security, as Faust takes it."""
    context = kafka.ssl_context
    if kafka.sasl_password is not None:
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password.get_secret_value(),
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)


def mount(app: faust.App, *parts: Service) -> None:
    """Make the parts run with the app, started in this order; a crash of one ends the worker."""
    for part in parts:
        app.service(part)  # type: ignore[arg-type]  # typed for classes, instances are taken as well


def mount_consumers(
    app: faust.App, registry: CollectorRegistry, settings: ConsumerSettings, *consumers: BatchConsumer[Any]
) -> None:
    """Make batch consumers run with the app, under a watchdog and with health pages; they stop at the same time."""
    watched: dict[str, Callable[[], int]] = {}
    for consumer in consumers:
        watched[f"polling of {consumer.topic}"] = partial(getattr, consumer, "fetch_beats")
        watched[f"handling of {consumer.topic}"] = partial(getattr, consumer, "apply_beats")
    mount(app, *consumers, Watchdog(watched, settings.stuck_after))

    @app.on_before_shutdown.connect  # type: ignore[arg-type]  # its type forbids what its documentation shows
    async def stop_together(_: faust.App, **__: object) -> None:
        await asyncio.gather(*(consumer.stop() for consumer in consumers))

    def waits_for() -> str | None:
        for consumer in consumers:
            if not consumer.assigned:
                return f"{consumer.topic}: no partitions assigned yet"
            for partition, hold in consumer.held.items():
                return (
                    f"{partition.topic}, partition {partition.partition} is held at offset {hold.offset} "
                    f"({hold.reason}): see `minegnk consumer list`"
                )
        return None

    serve_health(app, registry, waits_for)


class _Worker(faust.Worker):
    """Faust's worker, with a last deadline for its stop, whether a signal or a crash began it."""

    async def stop(self) -> None:
        """Stop everything, or the process."""
        _end_in_time(self.app)
        await super().stop()


def _end_in_time(app: AppT) -> None:
    """Bound the whole stop: what still waits for a silent server then, in whichever library, ends with the process.

    Nothing is lost by it: what is not committed is read again.
    """

    def end() -> None:
        structlog.get_logger(__name__).warning("ended_by_deadline", seconds=_STOP_SECONDS)
        sys.stderr.flush()
        os._exit(1 if app.crashed else 0)

    deadline = threading.Timer(_STOP_SECONDS, end)
    deadline.daemon = True
    deadline.start()


def serve_health(app: faust.App, registry: CollectorRegistry, waits_for: Callable[[], str | None]) -> None:
    """Add the pages /metrics (Prometheus), /livez (the process answers) and /readyz (503 while it waits for something).

    A process that is not ready lives: restarting it would not help.
    """

    @app.page("/metrics")
    async def metrics(self: View, request: Request) -> Response:
        return self.bytes(generate_latest(registry), content_type=CONTENT_TYPE_LATEST.split(";", maxsplit=1)[0])

    @app.page("/livez")
    async def livez(self: View, request: Request) -> Response:
        return self.json({"status": "ok"})

    @app.page("/readyz")
    async def readyz(self: View, request: Request) -> Response:
        reason = waits_for()
        if reason is None:
            return self.json({"status": "ready"})
        return self.json({"status": "waiting", "for": reason}, status=503)


class _Collector(Service):
    """Runs the garbage collector now and then instead of whenever so many objects were made.

    A batch is some hundred thousand objects, none of them in a cycle (reference counts free them): with Python's
    defaults the collector looked through them again and again, in a third of a worker's time.
    """

    mundane_level = "debug"

    @Service.task
    async def collect(self) -> None:
        """Start with what lives as long as the process set aside; then every quarter of a minute.

        What is remembered of 100,000 nodes takes a quarter of a second to look through: too long for every time.
        """
        gc.collect()
        gc.freeze()
        gc.disable()
        for number in itertools.count(1):
            await self.sleep(_COLLECT_SECONDS)
            if self.should_stop:
                break
            gc.collect(1 if number % _WHOLE_EVERY else 2)


def run(create_app: Callable[[CollectorRegistry], faust.App], service: ServiceSettings) -> None:
    """Run a service until SIGTERM or SIGINT; a crash inside it ends the process with exit code 1.

    Raises UnavailableError when Kafka goes away while the service starts.
    """
    configure_logging(service)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    app = create_app(CollectorRegistry())
    mount(app, _Collector())
    worker = _Worker(app, loop=loop, loglevel=service.log_level, quiet=True, override_logging=False)
    worker.spinner = None  # logs are for machines
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        if isinstance(ended.__context__, KafkaConnectionError):
            raise UnavailableError("Kafka went away while the service started: start it again.") from None
        raise
