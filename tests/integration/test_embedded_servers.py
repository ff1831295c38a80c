"""What the embedded PostgreSQL and Kafka promise to those who use them."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

from services.embedded.servers import EmbeddedServers, Endpoints

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Servers of this process, without a supervisor: to be stopped and killed one by one."""
    servers = EmbeddedServers(tmp_path_factory.mktemp("servers"))
    servers.start()
    yield servers
    servers.stop()


def connect(endpoints: Endpoints) -> psycopg.Connection:
    return psycopg.connect(
        host="127.0.0.1",
        port=endpoints.postgres_port,
        user="minegnk",
        password=endpoints.postgres_password,
        dbname="minegnk",
        autocommit=True,
    )


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("server_version_num", "18"),
        ("server_encoding", "UTF8"),
        ("timezone", "UTC"),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("max_connections", "200"),
        ("listen_addresses", "127.0.0.1"),
        ("password_encryption", "scram-sha-256"),
        ("is_superuser", "on"),
    ],
)
def test_postgresql_runs_with(runtime: Endpoints, setting: str, value: str) -> None:
    with connect(runtime) as session:
        shown = session.execute("SELECT current_setting(%s)", (setting,)).fetchone()
    assert shown is not None
    assert shown[0].startswith(value)


def test_postgresql_sorts_in_c_order_and_counts_statements(runtime: Endpoints) -> None:
    with connect(runtime) as session:
        assert session.execute("SELECT datcollate FROM pg_database WHERE datname = 'minegnk'").fetchone() == ("C",)
        session.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        assert session.execute("SELECT count(*) > 0 FROM pg_stat_statements").fetchone() == (True,)


def test_postgresql_refuses_a_wrong_password(runtime: Endpoints) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(
            host="127.0.0.1", port=runtime.postgres_port, user="minegnk", password="wrong", dbname="minegnk"
        )


def test_the_password_is_its_owners_alone_and_not_in_the_endpoints_text(servers: EmbeddedServers) -> None:
    password_file = servers.postgres.directory / "postgresql.password"
    assert password_file.stat().st_mode & 0o077 == 0
    assert servers.postgres.password not in repr(servers.endpoints)


def test_postgresql_keeps_what_was_committed_before_a_kill_9(servers: EmbeddedServers) -> None:
    port = servers.postgres.port
    with connect(servers.endpoints) as session:
        session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    servers.postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        connect(servers.endpoints)
    servers.postgres.start()
    servers.postgres.wait_ready()
    with connect(servers.endpoints) as session:
        assert session.execute("SELECT answer FROM kept").fetchone() == (42,)
    assert servers.postgres.port == port


def test_postgresql_starts_although_its_old_process_number_is_in_use(servers: EmbeddedServers) -> None:
    servers.postgres.kill()
    lock: Path = servers.postgres.data / "postmaster.pid"
    _dead, *rest = lock.read_text().splitlines(keepends=True)
    assert servers.kafka.pid is not None
    lock.write_text("".join([f"{servers.kafka.pid}\n", *rest]))
    servers.postgres.start()
    servers.postgres.wait_ready()


async def test_kafka_keeps_acknowledged_records_over_a_kill_9(servers: EmbeddedServers) -> None:
    address = f"127.0.0.1:{servers.kafka.port}"
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic("kept.v1", num_partitions=1, replication_factor=1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait("kept.v1", b"42")

    servers.kafka.kill()
    servers.kafka.start()
    servers.kafka.wait_ready()

    partition = TopicPartition("kept.v1", 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest")
    consumer.assign([partition])
    async with consumer:
        assert (await consumer.getone(partition)).value == b"42"


async def test_kafka_creates_no_topic_by_accident(runtime: Endpoints) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=f"127.0.0.1:{runtime.kafka_port}", request_timeout_ms=2000
    ) as producer:
        with pytest.raises(UnknownTopicOrPartitionError):
            await producer.send_and_wait("nobody.made.this", b"42")
