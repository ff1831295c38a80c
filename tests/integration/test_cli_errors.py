"""What a person can mend is one sentence on standard error that says what to do, and an exit code that is not 0."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from services.kernel.events import REFRESH_TOPIC
from services.kernel.settings import KafkaSettings
from tests.integration.pipeline import REPOSITORY, Pipeline, recreate_topics

pytestmark = pytest.mark.integration

GOOD_SOURCE = """
[[sources]]
name = "tracker"
kind = "hyperfusion"
base_urls = ["https://tracker.example.com"]
poll_interval = 60
requests_per_minute = 30
"""


def refused(pipeline: Pipeline, *arguments: str, **environment: str) -> str:
    """Run a command that must fail; the one sentence it says."""
    process = subprocess.run(
        [sys.executable, "-m", "services", *arguments],
        env=pipeline.environment(**environment),
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert process.returncode not in (0, -9), process.stderr
    assert "Traceback" not in process.stderr + process.stdout
    assert process.stderr.startswith("minegnk: "), process.stderr
    assert process.stderr.count("\n") == 1, process.stderr
    return process.stderr.removeprefix("minegnk: ").strip()


@contextmanager
def taken_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (GOOD_SOURCE.replace("hyperfusion", "horoscope"), "unknown kind; set kind to one of hyperfusion"),
        (GOOD_SOURCE.replace("[[sources]]", "[[sources"), "is not valid TOML"),
        (GOOD_SOURCE.replace("https://tracker.example.com", "tracker.example.com"), "write it like https://"),
        (GOOD_SOURCE.replace("tracker.example.com", "127.0.0.1"), "set allow_private = true"),
    ],
    ids=["unknown kind", "bad TOML", "bad URL", "private URL"],
)
def test_a_mistake_in_the_sources_file(pipeline: Pipeline, tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(content)
    sentence = refused(pipeline, "ingest", MINEGNK_SOURCES_FILE=str(path))
    assert sentence.startswith(str(path))
    assert told in sentence


def test_a_missing_sources_file(pipeline: Pipeline, tmp_path: Path) -> None:
    sentence = refused(pipeline, "ingest", MINEGNK_SOURCES_FILE=str(tmp_path / "none.toml"))
    assert "there is no such file; set MINEGNK_SOURCES_FILE" in sentence


@pytest.mark.parametrize(
    "command", [["cache"], ["ingest"], ["topics"], ["publish", "readings"], ["dlq", "list"], ["dlq", "retry", "--yes"]]
)
def test_no_kafka(pipeline: Pipeline, tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(GOOD_SOURCE)
    server = f"127.0.0.1:{closed_port()}"
    sentence = refused(pipeline, *command, MINEGNK_KAFKA_BOOTSTRAP_SERVERS=server, MINEGNK_SOURCES_FILE=str(path))
    assert f"Kafka at {server} cannot be reached" in sentence
    assert "set MINEGNK_KAFKA_BOOTSTRAP_SERVERS" in sentence


@pytest.mark.parametrize("server", ["kafka", "no-such-host.invalid:9092"])
def test_a_kafka_address_that_is_none(pipeline: Pipeline, server: str) -> None:
    assert "set MINEGNK_KAFKA_BOOTSTRAP_SERVERS" in refused(pipeline, "cache", MINEGNK_KAFKA_BOOTSTRAP_SERVERS=server)


@pytest.mark.parametrize("command", ["earnings", "migrate", "status"])
def test_no_database(pipeline: Pipeline, command: str) -> None:
    port = closed_port()
    sentence = refused(pipeline, command, DB_PORT=port)
    assert sentence == f"PostgreSQL at 127.0.0.1:{port} cannot be reached: start it, or set DB_HOST and DB_PORT."


@pytest.mark.parametrize("command", ["cache", "migrate"])
def test_a_missing_database(pipeline: Pipeline, command: str) -> None:
    assert "has no database 'nowhere'" in refused(pipeline, command, DB_DATABASE="nowhere")


@pytest.mark.parametrize("command", ["cache", "migrate"])
def test_a_wrong_password(pipeline: Pipeline, command: str) -> None:
    sentence = refused(pipeline, command, DB_PASSWORD="wrong")
    assert "check DB_USERNAME and DB_PASSWORD" in sentence


@pytest.mark.parametrize("command", ["cache", "status"])
def test_a_database_without_tables(pipeline: Pipeline, command: str) -> None:
    assert "run `minegnk migrate`" in refused(pipeline, command, DB_DATABASE="postgres")


@pytest.mark.parametrize("command", ["cache", "status"])
def test_no_topics(pipeline: Pipeline, tmp_path: Path, command: str) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(GOOD_SOURCE)
    asyncio.run(delete_topic(pipeline.kafka, REFRESH_TOPIC))
    asyncio.run(delete_topic(pipeline.kafka, "node.readings.v1"))
    try:
        assert "run `minegnk topics`" in refused(pipeline, command, MINEGNK_SOURCES_FILE=str(path))
    finally:
        asyncio.run(recreate_topics(pipeline.kafka))


async def delete_topic(kafka: KafkaSettings, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()


@pytest.mark.parametrize("command", ["cache", "ingest"])
def test_a_metrics_port_in_use(pipeline: Pipeline, tmp_path: Path, command: str) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(GOOD_SOURCE)
    with taken_port() as port:
        sentence = refused(pipeline, command, MINEGNK_METRICS_PORT=port, MINEGNK_SOURCES_FILE=str(path))
    assert f"Port {port} " in sentence
    assert "set MINEGNK_METRICS_PORT" in sentence


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DB_PORT", "abc"),
        ("MINEGNK_CONSUMER_MAX_BATCH", "0"),
        ("MINEGNK_KAFKA_SESSION_TIMEOUT", "soon"),
        ("MINEGNK_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_setting_that_does_not_fit(pipeline: Pipeline, variable: str, value: str) -> None:
    assert refused(pipeline, "cache", **{variable: value}).startswith(f"{variable}: ")


def test_publishing_an_unknown_kind(pipeline: Pipeline) -> None:
    assert refused(pipeline, "publish", "horoscopes") == "Events are 'readings' or 'earnings', not 'horoscopes'."


def test_publishing_a_missing_file(pipeline: Pipeline) -> None:
    assert "/nowhere/events.jsonl" in refused(pipeline, "publish", "readings", "/nowhere/events.jsonl")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list", "--reason", "bad"], "There is no reason 'bad': use one of tombstone, undecodable, "),
        (["list", "--topic", "horoscopes"], "No dead letters come from a topic 'horoscopes': use readings, "),
        (["retry", "--partition", "3"], "--partition needs --topic"),
        (["drop", "--topic", "readings", "--offset", "3"], "--offset needs --topic and --partition"),
        (["list", "--since", "yesterday"], "'yesterday' is no time: write it like 2026-03-01T12:00:00Z"),
        (["show", "readings", "3", "7"], "There is no dead letter of node.readings.v1, partition 3, offset 7: "),
    ],
)
def test_a_mistake_about_dead_letters(pipeline: Pipeline, arguments: list[str], told: str) -> None:
    assert refused(pipeline, "dlq", *arguments).startswith(told)
