"""Backup, loss and restore, by the commands of docs/backup.md: nothing is missing afterwards, and nothing is twice."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from services.embedded.files import write_private
from services.embedded.ports import free_port
from services.embedded.postgres import PostgresServer, programs
from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC, SOURCE_STATUS_TOPIC
from services.kernel.settings import DatabaseSettings
from tests.documents import ROOT, shell_block
from tests.integration.conftest import NewDatabase
from tests.integration.facts import apply_here, in_parts, rows, statuses
from tests.integration.pipeline import REPOSITORY, Pipeline, recreate_topics

pytestmark = pytest.mark.integration

GUIDE = ROOT / "docs" / "backup.md"
# The shell's own minegnk, of this code.
MINEGNK = f'minegnk() {{ (cd "{REPOSITORY}" && "{sys.executable}" -m services "$@"); }}\n'

ROLES = r"SELECT count(*) FROM pg_roles WHERE rolname LIKE 'minegnk\_%' AND pg_has_role('minegnk', oid, 'SET')"


@pytest.fixture
def new_server(pipeline: Pipeline, tmp_path: Path) -> Iterator[DatabaseSettings]:
    """A PostgreSQL with the same settings that has nothing: no database, no role of ours."""
    directory = tmp_path / "server"
    directory.mkdir()
    server = PostgresServer(directory, free_port())
    write_private(server.directory / "postgresql.password", pipeline.database.password.get_secret_value())
    server.prepare()
    server.start()
    server.wait_ready()
    yield pipeline.database.model_copy(update={"port": server.port})
    server.kill()


@pytest.fixture(autouse=True)
async def clean(pipeline: Pipeline) -> AsyncIterator[None]:
    await recreate_topics(pipeline.kafka)
    yield
    pipeline.stop_all()


def follow(pipeline: Pipeline, folder: Path, name: str) -> str:
    """Run a block of the guide in a shell, as its reader would; what it prints."""
    ended = followed(pipeline, folder, name)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def followed(pipeline: Pipeline, folder: Path, name: str) -> "subprocess.CompletedProcess[str]":
    settings = pipeline.database
    script = MINEGNK + shell_block(GUIDE, "plain") + shell_block(GUIDE, name)
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={
            **pipeline.environment(),
            "PATH": f"{programs()}:{os.environ['PATH']}",
            "PGHOST": settings.host,
            "PGPORT": str(settings.port),
            "PGUSER": settings.username,
            "PGPASSWORD": settings.password.get_secret_value(),
        },
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_a_copy_that_is_not_whole_is_found(pipeline: Pipeline, tmp_path: Path) -> None:
    follow(pipeline, tmp_path, "take")
    follow(pipeline, tmp_path, "check")
    dump = tmp_path / "backup" / "minegnk.dump"
    dump.write_bytes(dump.read_bytes()[:-1])
    assert followed(pipeline, tmp_path, "check").returncode != 0


async def test_a_restored_backup_and_a_replay_give_the_rows_of_a_database_that_was_never_lost(
    pipeline: Pipeline, new_database: NewDatabase, admin_dsn: str, new_server: DatabaseSettings, tmp_path: Path
) -> None:
    earlier, meanwhile, later, during_the_loss = in_parts(4)
    for service in ("cache", "earnings"):
        pipeline.start(service)
    await pipeline.publish(statuses())
    await pipeline.drained(SOURCE_STATUS_TOPIC)
    await pipeline.publish(earlier)
    await pipeline.drained(READINGS_TOPIC, EARNINGS_TOPIC)
    await pipeline.execute("INSERT INTO users (email) VALUES ('operator@example.org')")

    at_work = asyncio.create_task(pipeline.publish(meanwhile))
    await asyncio.to_thread(follow, pipeline, tmp_path, "take")
    await at_work
    await pipeline.publish(later)
    await pipeline.drained(READINGS_TOPIC, EARNINGS_TOPIC)

    # Lost while workers are at work: they wait for it, and nothing of what comes is skipped.
    await asyncio.to_thread(drop, pipeline, admin_dsn)
    await pipeline.publish(during_the_loss)
    pipeline.stop_all()

    restored = Pipeline(new_server, pipeline.kafka, pipeline.logs, pipeline.workers)
    await asyncio.to_thread(follow, restored, tmp_path, "restore")
    for service in ("cache", "earnings"):
        restored.start(service)
    await restored.drained(READINGS_TOPIC, EARNINGS_TOPIC)
    never_lost = Pipeline(new_database(), pipeline.kafka, pipeline.logs)
    await apply_here(never_lost, [*earlier, *meanwhile, *later, *during_the_loss])
    expected = await rows(never_lost)
    assert all(expected), "every table has rows"
    assert await rows(restored) != expected, "there is a gap"

    replayed = await asyncio.to_thread(follow, restored, tmp_path, "replay")
    assert replayed.count("0 invalid, 0 refused.") == 3
    assert await rows(restored) == expected
    assert await restored.rows("SELECT email FROM users") == [("operator@example.org",)]
    assert await restored.rows(ROLES) == [(4,)], "each service's role, which its login user may take"


def drop(pipeline: Pipeline, admin_dsn: str) -> None:
    """The end of the database."""
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(pipeline.database.database)))
