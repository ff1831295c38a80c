"""`minegnk ingest|cache|earnings|api|exporter`: run one service until it is told to stop."""

import asyncio
import socket
from importlib import import_module
from typing import Any

import typer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from services.kernel import app as runtime
from services.kernel import topics
from services.kernel.errors import ConfigurationError, UnavailableError
from services.kernel.events import REFRESH_TOPIC
from services.kernel.kafka import client_arguments, unavailable
from services.kernel.schema_version import check_schema
from services.kernel.settings import (
    ApiSettings,
    ConsumerSettings,
    DatabaseSettings,
    KafkaSettings,
    PushSettings,
    ServiceSettings,
    load,
)


def register(app: typer.Typer) -> None:
    """Add the commands that run services."""

    @app.command()
    def ingest() -> None:
        """Run the ingest service: trackers to Kafka."""
        kafka, service, push = load(KafkaSettings), load(ServiceSettings), load(PushSettings)
        sources = _import("ingest.sources").load_sources(service.sources_file)
        _check_port("ingest", service)
        _check_free(push.host, push.port, "MINEGNK_PUSH_PORT to a free port or 0, or see to MINEGNK_PUSH_HOST")
        partitions = asyncio.run(_check(kafka, None))
        runtime.run(
            lambda registry: _import("ingest.app").create_app(
                kafka, service, push, sources, registry, refresh_partitions=partitions
            ),
            service,
        )

    @app.command()
    def cache() -> None:
        """Run the cache service: node.readings.v1 to node_stats_cache."""
        _run_with_database("cache")

    @app.command()
    def earnings() -> None:
        """Run the earnings service: node.earnings.v1 to the ledger and earnings_history."""
        _run_with_database("earnings")

    @app.command()
    def api() -> None:
        """Run the read API and its page."""
        settings, database_settings, kafka = load(ApiSettings), load(DatabaseSettings), load(KafkaSettings)
        service = load(ServiceSettings)
        _check_port("api", service)
        # Without Kafka it answers all the same: only refreshes cannot be asked for.
        asyncio.run(check_schema(database_settings))
        _import("api.serving").run(
            lambda registry: _import("api.app").create_app(settings, database_settings, kafka, registry),
            settings,
            service,
        )

    @app.command()
    def exporter() -> None:
        """Serve metrics of the whole: lag, open dead letters, the age of what PostgreSQL holds, sizes (Prometheus)."""
        settings, database_settings, kafka = load(ApiSettings), load(DatabaseSettings), load(KafkaSettings)
        service = load(ServiceSettings)
        _check_port("exporter", service)
        _import("cli.exporter").run(database_settings, kafka, service, settings.ttl)


def _import(name: str) -> Any:
    """A service's module. Only then: each service starts with its own libraries, not with those of all."""
    return import_module(f"services.{name}")


def _run_with_database(name: str) -> None:
    kafka, consumer, service = load(KafkaSettings), load(ConsumerSettings), load(ServiceSettings)
    database_settings = load(DatabaseSettings)
    _check_port(name, service)
    asyncio.run(_check(kafka, database_settings))
    runtime.run(
        lambda registry: _import(f"{name}.app").create_app(kafka, database_settings, consumer, service, registry),
        service,
    )


def _check_port(name: str, service: ServiceSettings) -> None:
    """Fail with a sentence where the port of the metrics cannot be listened on."""
    remedy = "MINEGNK_METRICS_PORT to a free port or 0, or see to MINEGNK_METRICS_HOST"
    _check_free(service.metrics_host, runtime.metrics_port(name, service), remedy)


def _check_free(host: str, port: int, remedy: str) -> None:
    if port == 0:
        return
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise UnavailableError(
            f"Port {port} of {host} cannot be listened on ({error.strerror}): set {remedy}."
        ) from None


async def _check(kafka: KafkaSettings, database_settings: DatabaseSettings | None) -> int:
    """Fail at once, with a sentence, where starting would only fail slowly. Later outages are waited out.

    Returns the number of partitions of node.refresh.v1.
    """
    if database_settings is not None:
        await check_schema(database_settings)
    admin = AIOKafkaAdminClient(**client_arguments(kafka), request_timeout_ms=10_000)
    try:
        await admin.start()
        missing = {topic.name for topic in topics.TOPICS} - set(await admin.list_topics())
        if missing:
            raise ConfigurationError(f"Kafka has no topic {min(missing)}: run `minegnk topics`.")
        (refresh,) = await admin.describe_topics([REFRESH_TOPIC])
        return len(refresh["partitions"])
    except (KafkaError, ValueError) as error:
        raise await unavailable(kafka, error) from None
    finally:
        await admin.close()
