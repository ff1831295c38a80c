"""The embedded servers as a detached process: started, restarted, killed, raced."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from services.embedded import runtime as embedded
from services.embedded.servers import Endpoints
from services.kernel.errors import ConfigurationError, UnavailableError
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "embedded"
    yield folder
    embedded.stop(folder)


def start(directory: Path) -> Endpoints:
    return embedded.start(directory, with_parent=os.getpid())


def processes(endpoints: Endpoints) -> list[psutil.Process]:
    supervisor = psutil.Process(endpoints.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def gone(members: list[psutil.Process]) -> bool:
    return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in members)


def connect(endpoints: Endpoints) -> psycopg.Connection:
    settings = endpoints.environment()
    return psycopg.connect(
        host=settings["DB_HOST"],
        port=settings["DB_PORT"],
        user=settings["DB_USERNAME"],
        password=settings["DB_PASSWORD"],
        dbname=settings["DB_DATABASE"],
        autocommit=True,
    )


async def topics(endpoints: Endpoints, *, create: str | None = None) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=endpoints.environment()["MINEGNK_KAFKA_BOOTSTRAP_SERVERS"])
    await admin.start()
    try:
        if create:
            await admin.create_topics([NewTopic(create, num_partitions=2, replication_factor=1)])
        names: list[str] = await admin.list_topics()
        return names
    finally:
        await admin.close()


def minegnk(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.cli.main", "embedded", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_rows_and_topics_survive_a_restart_on_the_same_ports(directory: Path) -> None:
    before = start(directory)
    with connect(before) as session:
        session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await topics(before, create="kept.v1")
    members = processes(before)
    assert embedded.stop(directory)
    assert gone(members)
    assert embedded.status(directory) is None

    after = start(directory)
    assert (after.postgres_port, after.kafka_port) == (before.postgres_port, before.kafka_port)
    with connect(after) as session:
        assert session.execute("SELECT answer FROM kept").fetchall() == [(42,)]
    assert "kept.v1" in await topics(after)


async def test_after_kill_9_of_the_supervisor_no_server_is_left_and_the_next_start_has_the_data(
    directory: Path,
) -> None:
    before = start(directory)
    with connect(before) as session:
        session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await topics(before, create="kept.v1")
    members = processes(before)
    os.kill(before.pid, signal.SIGKILL)
    wait_until(lambda: gone(members))
    assert embedded.status(directory) is None

    after = start(directory)
    with connect(after) as session:
        assert session.execute("SELECT answer FROM kept").fetchall() == [(42,)]
    assert "kept.v1" in await topics(after)


def test_the_servers_end_after_kill_9_of_their_parent(directory: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        members = processes(embedded.start(directory, with_parent=parent.pid))
    finally:
        parent.kill()
        parent.communicate()
    wait_until(lambda: gone(members))
    assert embedded.status(directory) is None


def test_two_starts_at_once_end_in_one_pair_of_servers(directory: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: start(directory), range(2))
    assert first == second


def test_a_taken_port_is_replaced(directory: Path) -> None:
    before = start(directory)
    embedded.stop(directory)
    with socket.create_server(("127.0.0.1", before.kafka_port)):
        after = start(directory)
    assert after.kafka_port != before.kafka_port
    assert after.postgres_port == before.postgres_port


def test_when_one_server_dies_the_other_is_stopped(directory: Path) -> None:
    endpoints = start(directory)
    members = processes(endpoints)
    java = next(each for each in members if each.name() == "java")
    java.kill()
    wait_until(lambda: gone(members))
    assert embedded.status(directory) is None
    assert "Kafka ended by itself" in (directory / "logs" / "supervisor.log").read_text()


def test_the_command_prints_settings_and_nothing_else_on_standard_output(directory: Path) -> None:
    started = minegnk("start", "--dir", str(directory), "--with-parent", str(os.getpid()))
    assert started.returncode == 0, started.stderr
    endpoints = embedded.status(directory)
    assert endpoints is not None
    assert dict(line.split("=", 1) for line in started.stdout.splitlines()) == endpoints.environment()
    assert minegnk("start", "--dir", str(directory)).stdout == started.stdout
    assert minegnk("status", "--dir", str(directory)).stdout == started.stdout
    assert minegnk("stop", "--dir", str(directory)).returncode == 0
    stopped = minegnk("status", "--dir", str(directory))
    assert (stopped.returncode, stopped.stdout) == (1, "")


def test_a_start_that_nobody_waits_for_leaves_nothing(directory: Path) -> None:
    command = [sys.executable, "-m", "services.cli.main", "embedded", "start", "--dir", str(directory)]
    starter = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_until((directory / "postgresql.pid").exists)
    starter.kill()
    starter.wait()
    log = directory / "logs" / "supervisor.log"
    wait_until(lambda: log.read_text().endswith("stopped\n"))
    assert embedded.status(directory) is None


def test_a_parent_that_does_not_run_is_one_sentence(directory: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(ConfigurationError, match=f"Process {ended.pid} does not run"):
        embedded.start(directory, with_parent=ended.pid)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="choose another folder"):
        embedded.start(tmp_path / "file" / "embedded")


def test_a_cluster_that_cannot_be_made_is_one_sentence_that_names_its_log(directory: Path) -> None:
    directory.mkdir()
    (directory / "postgresql.password").touch()  # initdb refuses an empty password
    with pytest.raises(UnavailableError, match=r"Creating PostgreSQL's data folder failed .*postgresql\.out"):
        start(directory)
