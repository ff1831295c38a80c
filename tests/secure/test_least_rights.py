"""Each service works over TLS as a user of Kafka and one of PostgreSQL that may do only what docs/security.md says."""

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.protocol.admin import CreateAclsRequest

from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC, SOURCE_STATUS_TOPIC, EarningsReport
from services.kernel.kafka import client_arguments, unavailable
from services.kernel.publisher import KafkaPublisher
from services.kernel.settings import KafkaSettings
from services.kernel.topics import TOPICS, dead_letter_topic
from services.kernel.wire import OutgoingRecord
from tests.captured import serving
from tests.integration.conftest import NewDatabase
from tests.integration.pipeline import REPOSITORY, Pipeline, free_port, records_of, recreate_topics, until
from tests.schema.sessions import session
from tests.secure.certificates import Authority
from tests.secure.servers import PASSWORD, SERVICES, SecuredKafka
from tests.secure.test_kafka_tls import settings, variables

pytestmark = pytest.mark.integration

_RIGHTS = {"Read": 3, "Write": 4, "Describe": 8}
_RESOURCES = {"topic": 2, "group": 3}
_LITERAL, _PREFIX, _ALLOW = 3, 4, 3
CONSUMED = (READINGS_TOPIC, EARNINGS_TOPIC, SOURCE_STATUS_TOPIC)
REPORT = EarningsReport(
    identifier="gonka1paid",
    identifier_type="wallet",
    source="odd",
    kind="epoch",
    period=1,
    amount_ngonka=5,
    observed_at=datetime(2026, 1, 2, tzinfo=UTC),
    settled_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def documented_rights() -> list[tuple[str, str, str, str]]:
    """(user, topic or group, its name, right) of each row of the table."""
    rows = re.findall(
        r"^\| ([a-z, ]+) \| (topic|group) `(\S+)` \| (\w+) \|$", (REPOSITORY / "docs/security.md").read_text(), re.M
    )
    return [(user, resource, name, right) for users, resource, name, right in rows for user in users.split(", ")]


async def give_rights(kafka: KafkaSettings) -> None:
    admin = AIOKafkaAdminClient(**client_arguments(kafka))
    await admin.start()
    try:
        for user, resource, name, right in documented_rights():
            prefix = name.endswith("*") and name != "*"
            request = CreateAclsRequest(
                _RESOURCES[resource],
                name.removesuffix("*") if prefix else name,
                _PREFIX if prefix else _LITERAL,
                f"User:{user}",
                "*",
                _RIGHTS[right],
                _ALLOW,
            )
            ((code, message),) = (await admin._send_request(request)).creation_responses
            assert code == 0, message
    finally:
        await admin.close()


@pytest.fixture(scope="module")
def rights(secured: SecuredKafka, authority: Authority) -> KafkaSettings:
    """Kafka as its operator sees it, with topics and the rights of the document."""
    kafka = settings(variables(secured, "SASL_SSL", authority))
    asyncio.run(recreate_topics(kafka))
    asyncio.run(give_rights(kafka))
    return kafka


@pytest.fixture
def pipeline(
    rights: KafkaSettings, new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """A database in which each service has a user of its own."""
    pipeline = Pipeline(new_database(), rights, tmp_path_factory.mktemp("workers"))
    roles = {"cache": "minegnk_cache", "earnings": "minegnk_earnings", "api": "minegnk_api, minegnk_admin"}
    with session(pipeline.database) as connection:
        for user, role in roles.items():
            connection.execute(f"CREATE ROLE least_{user} LOGIN PASSWORD 'of-{user}' IN ROLE {role}".encode())
        yield pipeline
        pipeline.stop_all()
        for user in roles:
            connection.execute(f"DROP ROLE least_{user}".encode())


TRACKER = """
[[sources]]
name = "odd"
kind = "json"
base_urls = ["{url}"]
poll_interval = 1
requests_per_minute = 6000
allow_private = true
[sources.json]
path = "/nodes"
nodes = "nodes"
[sources.json.node]
identifier = "id"
status = "'healthy'"
"""


def in_a_file(folder: Path, name: str, text: str) -> str:
    file = folder / name
    file.write_text(f"{text}\n")
    return str(file)


async def test_each_service_works_with_its_own_rights_alone_and_passwords_from_files(
    pipeline: Pipeline, secured: SecuredKafka, authority: Authority
) -> None:
    api_port = free_port()
    async with serving({"/nodes": {"nodes": [{"id": "gonka1least"}]}}) as server, httpx.AsyncClient() as client:
        sources = pipeline.logs / "sources.toml"
        sources.write_text(TRACKER.format(url=server.url))
        for service in SERVICES:
            own = {
                **variables(secured, "SASL_SSL", authority),
                "MINEGNK_KAFKA_SASL_USERNAME": service,
                "MINEGNK_KAFKA_SASL_PASSWORD": "",
                "MINEGNK_KAFKA_SASL_PASSWORD_FILE": in_a_file(pipeline.logs, "kafka-password", PASSWORD),
                "DB_USERNAME": f"least_{service}",
                "DB_PASSWORD": "",
                "DB_PASSWORD_FILE": in_a_file(pipeline.logs, f"password-of-{service}", f"of-{service}"),
                "MINEGNK_SOURCES_FILE": str(sources),
                "MINEGNK_PUSH_PORT": str(free_port()),
                "MINEGNK_API_PORT": str(api_port),
            }
            pipeline.start(service, **own)
        await pipeline.publish([REPORT])
        await pipeline.send([OutgoingRecord(topic, b"k", b"no JSON", []) for topic in CONSUMED])

        async def done() -> bool:
            for worker in pipeline.workers:
                assert worker.process.poll() is None, str(worker)
            rows = "SELECT (SELECT count(status) FROM node_stats_cache), (SELECT count(*) FROM earnings_ledger)"
            letters = [await records_of(pipeline.kafka, dead_letter_topic(topic)) for topic in CONSUMED]
            return await pipeline.rows(rows) == [(1, 1)] and all(letters)

        await until(done, "a reading and a report became rows, and what is invalid dead letters", 60)
        answer = await client.get(f"http://127.0.0.1:{api_port}/api/v1/nodes")
        assert [node["identifier"] for node in answer.json()["items"]] == ["gonka1least", "gonka1paid"]
        for worker in pipeline.workers:
            assert "AuthorizationFailed" not in worker.log.read_text(), str(worker)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_writes_to_its_topics_only(
    rights: KafkaSettings, secured: SecuredKafka, authority: Authority, service: str
) -> None:
    kafka = settings(variables(secured, "SASL_SSL", authority) | {"MINEGNK_KAFKA_SASL_USERNAME": service})
    written, refused = set(), ""
    publisher = KafkaPublisher(kafka)
    async with publisher:
        for topic in TOPICS:
            try:
                await publisher.send([OutgoingRecord(topic.name, b"k", b"no JSON", [])])
            except TopicAuthorizationFailedError as error:
                refused = str(await unavailable(kafka, error))
            else:
                written.add(topic.name)
    assert written == {name for user, _, name, right in documented_rights() if (user, right) == (service, "Write")}
    assert f"does not let the user {service!r} do this (TopicAuthorizationFailedError): give it" in refused
