"""`minegnk doctor`: what is wrong with this set-up, and what to do about it."""

import asyncio
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

import asyncpg
import typer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from pydantic_settings import BaseSettings
from rich.table import Table
from rich.text import Text

from services.cli.consumer import held_partitions
from services.cli.snapshot import GROUPS, SOURCES, Source, TopicReader
from services.cli.status import age
from services.cli.terminal import console
from services.ingest.clock import SystemClock
from services.ingest.sources import Source as FollowedSource
from services.ingest.sources import load_sources
from services.ingest.trackers.adapters import tracker_for
from services.kernel import database, migrations
from services.kernel.database import OwnConnection
from services.kernel.errors import ConfigurationError, SourceError, UserError
from services.kernel.kafka import client_arguments, unavailable
from services.kernel.settings import (
    ApiSettings,
    ConsumerSettings,
    DatabaseSettings,
    KafkaSettings,
    PushSettings,
    ServiceSettings,
    load,
)
from services.kernel.topics import TOPICS, Topic

_OLDEST_POSTGRESQL: Final = 160_000  # pg_has_role(…, 'SET')
_CLOCKS_DIFFER: Final = timedelta(seconds=5)
_TRACKER_SECONDS: Final = 30.0
_CHECK_SECONDS: Final = 10.0
_SILENT_INTERVALS: Final = 3
_ROLES: Final = ("minegnk_cache", "minegnk_earnings", "minegnk_api", "minegnk_admin")
_SERVICES: Final = {"minegnk.cache": "cache", "minegnk.cache.sources": "cache", "minegnk.earnings": "earnings"}


class Level(StrEnum):
    """How a check came out. What is wrong stops something; a warning does not, or not yet."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """What a check found, and what a person can do about it."""

    area: str
    level: Level
    found: str
    action: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def doctor(
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    ) -> None:
        """Check settings, PostgreSQL, Kafka, consumers and trackers, and say what to do; exit code 1 when one fails."""
        findings = asyncio.run(diagnose())
        if as_json:
            sys.stdout.writelines(json.dumps(asdict(finding)) + "\n" for finding in findings)
        else:
            _show(findings)
        if any(finding.level is Level.WRONG for finding in findings):
            raise typer.Exit(1)


def _show(findings: Iterable[Finding]) -> None:
    table = Table("", "what", "found", "do this")
    styles = {Level.OK: "green", Level.WARNING: "yellow", Level.WRONG: "red"}
    for finding in findings:
        # What others wrote, a tracker's error for example, is no markup.
        table.add_row(
            Text(finding.level, styles[finding.level]), finding.area, Text(finding.found), Text(finding.action)
        )
    console().print(table)


async def diagnose() -> list[Finding]:
    """Every check whose settings can be read; each stands for itself, whatever the others found."""
    findings: list[Finding] = []
    read: dict[type[BaseSettings], Any] = {}
    for kind in (DatabaseSettings, KafkaSettings, ServiceSettings, ConsumerSettings, ApiSettings, PushSettings):
        try:
            read[kind] = load(kind)
        except ConfigurationError as error:
            findings.append(Finding("settings", Level.WRONG, str(error), "set the variable right"))
    if not findings:
        findings.append(Finding("settings", Level.OK, "every variable can be read"))
    if (settings := read.get(DatabaseSettings)) is not None:
        findings += await _check_database(settings)
    if (kafka := read.get(KafkaSettings)) is not None:
        findings += await _check_kafka(kafka)
    if (service := read.get(ServiceSettings)) is not None:
        findings += await _check_trackers(service)
    return findings


# PostgreSQL.


async def _check_database(settings: DatabaseSettings) -> list[Finding]:
    place = f"{settings.host}:{settings.port}"
    try:
        connection = await database.connect(settings)
    except UserError as error:
        return [Finding("PostgreSQL", Level.WRONG, *_split(error))]
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            version = await connection.fetchval("SELECT current_setting('server_version_num')::integer")
            if version < _OLDEST_POSTGRESQL:
                old = f"{place} is version {version // 10_000}"
                return [Finding("PostgreSQL", Level.WRONG, old, "use version 16 or newer; 17 is tested")]
            return [
                Finding("PostgreSQL", Level.OK, f"{place} answers, version {version // 10_000}"),
                await _check_migrations(settings),
                *await _check_server(connection),
                *await _check_sources(connection),
            ]
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return [Finding("PostgreSQL", Level.WRONG, *_split(database.unavailable(settings, error)))]
    finally:
        connection.terminate()


async def _check_migrations(settings: DatabaseSettings) -> Finding:
    try:
        pending = [name for name, applied in await asyncio.to_thread(migrations.state, settings) if not applied]
    except UserError as error:
        return Finding("schema", Level.WRONG, *_split(error))
    if not pending:
        return Finding("schema", Level.OK, "up to date")
    return Finding("schema", Level.WRONG, f"not applied: {', '.join(pending)}", "run `minegnk migrate`")


async def _check_server(connection: OwnConnection) -> list[Finding]:
    findings = []
    before = datetime.now(UTC)
    theirs = await connection.fetchval("SELECT clock_timestamp()")
    ours = before + (datetime.now(UTC) - before) / 2
    if (differ := abs(theirs - ours)) > _CLOCKS_DIFFER:
        apart = f"this machine's and PostgreSQL's differ by {differ.total_seconds():.0f} s"
        findings.append(Finding("clocks", Level.WRONG, apart, "set both by NTP: ages and times would be wrong"))
    else:
        findings.append(Finding("clocks", Level.OK, "this machine's and PostgreSQL's agree"))
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        if await connection.fetchval("SELECT current_setting($1)", name) == "off":
            lost = f"{name} is off: what was committed can be lost"
            findings.append(Finding("PostgreSQL", Level.WRONG, lost, f"set {name} = on"))
    roles = await connection.fetch(
        "SELECT name, coalesce(pg_has_role(current_user, oid, 'SET'), false) AS may FROM unnest($1::text[]) AS name "
        "LEFT JOIN pg_roles ON rolname = name",
        _ROLES,
    )
    if refused := [row["name"] for row in roles if not row["may"]]:
        rights = f"the user may not take {', '.join(refused)}: services have all of its rights"
        grant = "migrate as a user that may create roles, or grant it these"
        findings.append(Finding("roles", Level.WARNING, rights, grant))
    return findings


async def _check_sources(connection: OwnConnection) -> list[Finding]:
    """What sources said of themselves, as far as they did."""
    findings = []
    try:
        rows = await connection.fetch(SOURCES)
    except asyncpg.UndefinedTableError:
        return []  # said already: the schema is not up to date
    now = datetime.now(UTC)
    for source in (Source(**dict(row)) for row in rows):
        silent = None if source.last_success_at is None else now - source.last_success_at
        limit = timedelta(seconds=_SILENT_INTERVALS * (source.poll_interval_seconds or 60))
        if silent is None or silent > limit:
            since = f"last gave something: {age(source.last_success_at, now)}"
            why = f" ({source.last_error})" if source.last_error else ""
            action = "see whether `minegnk ingest` runs, and what it logs"
            findings.append(Finding(f"source {source.name}", Level.WARNING, f"{since}{why}", action))
    return findings


# Kafka.


async def _check_kafka(kafka: KafkaSettings) -> list[Finding]:
    admin = AIOKafkaAdminClient(**client_arguments(kafka), request_timeout_ms=10_000)
    try:
        await admin.start()
        findings = [Finding("Kafka", Level.OK, f"{kafka.bootstrap_servers} answers")]
        existing = set(await admin.list_topics())
        if missing := [topic.name for topic in TOPICS if topic.name not in existing]:
            return [*findings, Finding("topics", Level.WRONG, f"missing: {', '.join(missing)}", "run `minegnk topics`")]
        return [*findings, *await _check_topics(admin), *await _check_groups(admin), *await _check_flow(kafka)]
    except UserError as error:
        return [Finding("Kafka", Level.WRONG, *_split(error))]
    except (KafkaError, OSError, ValueError) as error:
        return [Finding("Kafka", Level.WRONG, *_split(await unavailable(kafka, error)))]
    finally:
        await admin.close()


async def _check_topics(admin: AIOKafkaAdminClient) -> list[Finding]:
    described = {topic["topic"]: topic for topic in await admin.describe_topics([topic.name for topic in TOPICS])}
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in TOPICS]
    held: dict[str, dict[str, str]] = {}
    for reply in await admin.describe_configs(resources):
        for _, _, _, name, entries in reply.resources:
            held[name] = {entry[0]: entry[1] for entry in entries}
    findings = []
    for topic in TOPICS:
        if (partitions := len(described[topic.name]["partitions"])) < topic.partitions:
            few = f"{topic.name} has {partitions} partitions, not {topic.partitions}"
            findings.append(Finding("topics", Level.WARNING, few, "run `minegnk topics`"))
        findings += _differences(topic, held[topic.name])
    return findings or [Finding("topics", Level.OK, f"all {len(TOPICS)} are as they should be")]


def _differences(topic: Topic, held: dict[str, str]) -> list[Finding]:
    """Where a topic's settings would lose something, or judge a record by its producer's clock."""
    findings = []
    for name, ours in topic.settings().items():
        theirs = held.get(name, "")
        if name in ("retention.ms", "max.message.bytes"):
            # -1 is for ever.
            bad = int(theirs) != -1 and (int(ours) == -1 or int(theirs) < int(ours))
        else:
            bad = theirs != ours
        if bad:
            differs = f"{topic.name}: {name} is {theirs}, not {ours}"
            level = Level.WRONG if name in ("cleanup.policy", "message.timestamp.type") else Level.WARNING
            findings.append(Finding("topics", level, differs, f"set it with kafka-configs, to {ours}"))
    return findings


async def _check_groups(admin: AIOKafkaAdminClient) -> list[Finding]:
    working = set()
    try:
        # Only those that exist: the client cannot read a reply about one that does not.
        for group in {group for group, *_ in await admin.list_consumer_groups()} & set(_SERVICES):
            ((_, _, state, *_),) = (await admin.describe_consumer_groups([group]))[0].groups
            working |= {group} if state not in ("Dead", "Empty") else set()
    except GroupCoordinatorNotAvailableError:  # no group has ever been on this broker
        pass
    idle = sorted({service for group, service in _SERVICES.items() if group not in working})
    return [Finding("consumers", Level.WARNING, f"no {name} is running", f"start `minegnk {name}`") for name in idle]


async def _check_flow(kafka: KafkaSettings) -> list[Finding]:
    findings = []
    for partition, hold in (await held_partitions(kafka)).items():
        stands = f"partition {partition.partition} of {partition.topic} is held at offset {hold.offset}: {hold.reason}"
        action = "mend the producer, then `minegnk consumer resume` (`minegnk consumer list` shows the record)"
        findings.append(Finding("consumers", Level.WRONG, stands, action))
    async with TopicReader(kafka) as reader:
        states = await reader.read()
    for state in states:
        if state.dead_letters:
            dead = f"{state.dead_letters:,} records of {state.topic} could not be applied"
            findings.append(Finding("dead letters", Level.WARNING, dead, "see `minegnk dlq list`"))
    lag = ", ".join(f"{state.topic} {state.lag:,}" for state in states if state.topic in GROUPS)
    return [*findings, Finding("lag", Level.OK, f"records not yet handled: {lag}")]


# Trackers.


async def _check_trackers(service: ServiceSettings) -> list[Finding]:
    try:
        sources = load_sources(service.sources_file)
    except ConfigurationError as error:
        return [Finding("sources", Level.WRONG, *_split(error))]
    if not sources:
        return [Finding("sources", Level.OK, f"{service.sources_file} lists none: all events are pushed")]
    findings = await asyncio.gather(*map(_check_tracker, sources))
    if any(finding.level is not Level.WRONG for finding in findings):  # the others are what several are for
        return [replace(each, level=Level.WARNING) if each.level is Level.WRONG else each for each in findings]
    return list(findings)


async def _check_tracker(source: FollowedSource) -> Finding:
    """Ask it once, as ingest does."""
    area = f"tracker {source.name}"
    action = "see whether its base_urls are right, and reached from here"
    tracker = tracker_for(source, SystemClock())
    try:
        async with asyncio.timeout(_TRACKER_SECONDS):
            poll = await tracker.poll()
    except TimeoutError:
        return Finding(area, Level.WRONG, f"no answer within {_TRACKER_SECONDS:g} s", action)
    except SourceError as error:
        return Finding(area, Level.WRONG, str(error), action)
    finally:
        await tracker.aclose()
    now = datetime.now(UTC)
    told = f"{len(poll.readings):,} nodes, as of {age(poll.data_at, now)}"
    if now - poll.data_at > _SILENT_INTERVALS * source.poll_interval + source.preference:
        return Finding(area, Level.WARNING, told, "it answers with old data; another source takes over")
    return Finding(area, Level.OK, told)


def _split(error: UserError) -> tuple[str, str]:
    """The sentence of an error as what was found and what to do: the parts before and after its colon or semicolon."""
    text = str(error).rstrip(".")
    for separator in ("; ", "): ", ": "):
        found, cut, action = text.rpartition(separator)
        if cut:
            return f"{found}{')' if separator.startswith(')') else ''}", action
    return text, ""
