"""`minegnk doctor` names what is wrong with a set-up, and what to do, for each way in which one can be broken."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC, REFRESH_TOPIC
from services.kernel.topics import TOPICS
from services.kernel.wire import OutgoingRecord
from tests.integration.conftest import NewDatabase
from tests.integration.pipeline import REPOSITORY, Pipeline, recreate_topics, until
from tests.integration.test_cli_errors import GOOD_SOURCE, closed_port

pytestmark = pytest.mark.integration


@pytest.fixture
def no_sources(tmp_path: Path) -> str:
    file = tmp_path / "none.toml"
    file.write_text("sources = []\n")
    return str(file)


def doctor(pipeline: Pipeline, **environment: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and of each area the gravest finding."""
    process = subprocess.run(
        [sys.executable, "-m", "services", "doctor", "--json"],
        env=pipeline.environment(**environment),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "Traceback" not in process.stderr, process.stderr
    order = ["ok", "warning", "wrong"]
    findings: dict[str, dict[str, str]] = {}
    for finding in map(json.loads, process.stdout.splitlines()):
        held = findings.get(finding["area"])
        if held is None or order.index(finding["level"]) > order.index(held["level"]):
            findings[finding["area"]] = finding
        assert finding["level"] == "ok" or finding["action"], f"it says what to do: {finding}"
    return process.returncode, findings


def wrong(pipeline: Pipeline, area: str, **environment: str) -> dict[str, str]:
    """The finding of the one area that is wrong."""
    code, findings = doctor(pipeline, **environment)
    assert [name for name, finding in findings.items() if finding["level"] == "wrong"] == [area], findings
    assert code == 1
    return findings[area]


@pytest.fixture
async def topics_again(pipeline: Pipeline) -> AsyncIterator[None]:
    """Whatever the test does to them, the next one finds them as they should be."""
    yield
    await recreate_topics(pipeline.kafka)


def test_a_set_up_without_a_fault_has_none(pipeline: Pipeline, no_sources: str) -> None:
    code, findings = doctor(pipeline, MINEGNK_SOURCES_FILE=no_sources)
    assert code == 0
    warned = {area for area, finding in findings.items() if finding["level"] == "warning"}
    assert warned == {"consumers"}, "nobody consumes, which a person may want"
    assert {"settings", "PostgreSQL", "schema", "clocks", "Kafka", "topics", "lag", "sources"} <= set(findings)


def test_a_variable_that_cannot_be_read_is_named_and_the_rest_is_checked(pipeline: Pipeline, no_sources: str) -> None:
    found = wrong(pipeline, "settings", MINEGNK_SOURCES_FILE=no_sources, MINEGNK_CONSUMER_MAX_BATCH="many")
    assert "MINEGNK_CONSUMER_MAX_BATCH" in found["found"]


def test_a_postgresql_that_is_away(pipeline: Pipeline, no_sources: str) -> None:
    found = wrong(pipeline, "PostgreSQL", MINEGNK_SOURCES_FILE=no_sources, DB_HOST="127.0.0.1", DB_PORT=closed_port())
    assert "DB_HOST" in found["action"]


def test_a_password_that_is_refused_and_not_repeated(pipeline: Pipeline, no_sources: str) -> None:
    found = wrong(pipeline, "PostgreSQL", MINEGNK_SOURCES_FILE=no_sources, DB_PASSWORD="not-this-one")
    assert "DB_PASSWORD" in found["action"]
    assert "not-this-one" not in json.dumps(found)


def test_a_database_that_does_not_exist(pipeline: Pipeline, no_sources: str) -> None:
    found = wrong(pipeline, "PostgreSQL", MINEGNK_SOURCES_FILE=no_sources, DB_DATABASE="nowhere")
    assert "nowhere" in found["found"]
    assert "DB_DATABASE" in found["action"]


async def test_a_schema_that_is_not_up_to_date(pipeline: Pipeline, no_sources: str) -> None:
    await pipeline.execute("CREATE DATABASE empty_for_doctor")
    try:
        found = wrong(pipeline, "schema", MINEGNK_SOURCES_FILE=no_sources, DB_DATABASE="empty_for_doctor")
    finally:
        await pipeline.execute("DROP DATABASE empty_for_doctor WITH (FORCE)")
    assert "0001" in found["found"]
    assert "minegnk migrate" in found["action"]


async def test_a_server_that_may_lose_what_was_committed(
    pipeline: Pipeline, new_database: NewDatabase, no_sources: str
) -> None:
    database = new_database().database
    await pipeline.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    found = wrong(pipeline, "PostgreSQL", MINEGNK_SOURCES_FILE=no_sources, DB_DATABASE=database)
    assert "synchronous_commit" in found["found"]


async def test_a_user_who_may_not_take_the_services_roles_is_a_warning(pipeline: Pipeline, no_sources: str) -> None:
    await pipeline.execute("CREATE USER doctors_user PASSWORD 'a' IN ROLE pg_read_all_data")
    try:
        _, findings = doctor(pipeline, MINEGNK_SOURCES_FILE=no_sources, DB_USERNAME="doctors_user", DB_PASSWORD="a")
    finally:
        await pipeline.execute("DROP USER doctors_user")
    assert findings["roles"]["level"] == "warning"
    assert "minegnk_cache" in findings["roles"]["found"]


def test_a_kafka_that_is_away(pipeline: Pipeline, no_sources: str) -> None:
    away = f"127.0.0.1:{closed_port()}"
    found = wrong(pipeline, "Kafka", MINEGNK_SOURCES_FILE=no_sources, MINEGNK_KAFKA_BOOTSTRAP_SERVERS=away)
    assert "MINEGNK_KAFKA_BOOTSTRAP_SERVERS" in found["action"]


async def test_a_topic_that_is_missing(pipeline: Pipeline, no_sources: str, topics_again: None) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.kafka.bootstrap_servers)
    await admin.start()
    await admin.delete_topics([REFRESH_TOPIC])
    await admin.close()
    found = wrong(pipeline, "topics", MINEGNK_SOURCES_FILE=no_sources)
    assert REFRESH_TOPIC in found["found"]
    assert "minegnk topics" in found["action"]


async def test_a_topic_that_would_lose_earnings(pipeline: Pipeline, no_sources: str, topics_again: None) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.kafka.bootstrap_servers)
    await admin.start()
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, EARNINGS_TOPIC, {"cleanup.policy": "compact"})])
    await admin.close()
    found = wrong(pipeline, "topics", MINEGNK_SOURCES_FILE=no_sources)
    assert f"{EARNINGS_TOPIC}: cleanup.policy is compact" in found["found"]


async def test_a_topic_with_too_few_partitions_is_a_warning(
    pipeline: Pipeline, no_sources: str, topics_again: None
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.kafka.bootstrap_servers)
    await admin.start()
    await admin.delete_topics([REFRESH_TOPIC])

    async def gone() -> bool:
        return REFRESH_TOPIC not in await admin.list_topics()

    await until(gone, "the topic is deleted")
    settings = next(topic.settings() for topic in TOPICS if topic.name == REFRESH_TOPIC)
    await admin.create_topics([NewTopic(REFRESH_TOPIC, 1, 1, topic_configs=settings)])
    await admin.close()
    code, findings = doctor(pipeline, MINEGNK_SOURCES_FILE=no_sources)
    assert code == 0
    assert findings["topics"]["level"] == "warning"
    assert f"{REFRESH_TOPIC} has 1 partitions, not 12" in findings["topics"]["found"]


async def test_a_partition_that_is_held(pipeline: Pipeline, no_sources: str, topics_again: None) -> None:
    worker = pipeline.start("cache", MINEGNK_CONSUMER_INVALID_LIMIT="1")
    try:
        await pipeline.send([OutgoingRecord(READINGS_TOPIC, b"k", b"no JSON", [])] * 3, partition=0)

        async def held() -> bool:
            return "partition_held" in worker.log.read_text()

        await until(held, "the partition is held")
        found = wrong(pipeline, "consumers", MINEGNK_SOURCES_FILE=no_sources)
    finally:
        worker.stop()
    assert f"partition 0 of {READINGS_TOPIC} is held" in found["found"]
    assert "minegnk consumer resume" in found["action"]


def test_a_file_of_sources_that_is_missing(pipeline: Pipeline, tmp_path: Path) -> None:
    found = wrong(pipeline, "sources", MINEGNK_SOURCES_FILE=str(tmp_path / "nowhere.toml"))
    assert "MINEGNK_SOURCES_FILE" in found["action"]


def test_a_tracker_that_does_not_answer(pipeline: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "sources.toml"
    away = f"http://127.0.0.1:{closed_port()}"
    file.write_text(
        GOOD_SOURCE.replace("https://tracker.example.com", away) + "allow_private = true\npreference = 900\n"
    )
    found = wrong(pipeline, "tracker tracker", MINEGNK_SOURCES_FILE=str(file))
    assert "cannot connect" in found["found"]
    assert "base_urls" in found["action"]


def test_a_person_sees_a_table(pipeline: Pipeline, no_sources: str) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "services", "doctor"],
        env=pipeline.environment(MINEGNK_SOURCES_FILE=no_sources),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "do this" in process.stdout
    assert "start `minegnk cache`" in process.stdout
