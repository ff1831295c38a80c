"""Two consecutive versions on one database, in either order: an upgrade while events arrive, and the way back.

The version before is the code as it was before the newest migration, from git's history.
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import psycopg
import pytest

from services.kernel.events import (
    EARNINGS_TOPIC,
    READINGS_TOPIC,
    SOURCE_STATUS_TOPIC,
    Event,
)
from services.kernel.schema_version import FOLDER
from services.kernel.settings import DatabaseSettings
from tests.integration.facts import apply_here, in_parts, rows, statuses
from tests.integration.pipeline import REPOSITORY, Pipeline, Worker, free_port, until

pytestmark = pytest.mark.integration

NEWEST = max(path.stem for path in FOLDER.glob("*.sql") if not path.name.endswith(".rollback.sql"))
SERVICES = ("cache", "earnings")
DATABASE = "two_versions"


def git(*arguments: str) -> bytes | None:
    """What git says; None where it cannot."""
    command = ["git", "-c", "safe.directory=*", "-C", str(REPOSITORY), *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=30).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


@pytest.fixture(scope="module")
def version_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the code from before the newest migration."""
    adding = git("log", "-1", "--format=%H", "--diff-filter=A", "--", f"migrations/{NEWEST}.sql")
    if adding is None:
        pytest.skip("This is no git checkout: the version before is not at hand.")
    commit = f"{adding.decode().strip()}^" if adding.strip() else "HEAD"
    archive = git("archive", commit, "services", "migrations")
    if archive is None:
        pytest.skip(f"git's history does not reach back to before {NEWEST}, as in a shallow clone.")
    folder = tmp_path_factory.mktemp("version-before")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    assert not (folder / "migrations" / f"{NEWEST}.sql").exists()
    return folder


@pytest.fixture(scope="module")
def old_schema(version_before: Path, pipeline: Pipeline, admin_dsn: str) -> Iterator[DatabaseSettings]:
    """A database with the schema of the version before, made by itself; the module's last test migrates it."""
    settings = pipeline.database.model_copy(update={"database": DATABASE})
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        run(Pipeline(settings, pipeline.kafka, pipeline.logs), "migrate", code=version_before)
        yield settings
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)".encode())


def run(pipeline: Pipeline, *arguments: str, code: Path = REPOSITORY) -> str:
    """The standard output of a command that succeeds."""
    ended = ended_with(pipeline, *arguments, code=code)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def ended_with(pipeline: Pipeline, *arguments: str, code: Path = REPOSITORY) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "services", *arguments],
        env=pipeline.environment(),
        cwd=code,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def publish(pipeline: Pipeline, part: list[Event]) -> None:
    """Publish events, and wait until workers have handled them."""
    await pipeline.publish(part)
    await pipeline.drained(READINGS_TOPIC, EARNINGS_TOPIC)


async def first_of_all(pipeline: Pipeline) -> None:
    """The sources' statuses: their preferences decide which reading wins."""
    await pipeline.publish(statuses())
    await pipeline.drained(SOURCE_STATUS_TOPIC)


@pytest.mark.parametrize("service", ["cache", "api"])
def test_a_service_says_which_migration_an_older_schema_lacks(
    pipeline: Pipeline, old_schema: DatabaseSettings, service: str
) -> None:
    ended = ended_with(Pipeline(old_schema, pipeline.kafka, pipeline.logs), service)
    assert ended.returncode == 2
    assert ended.stderr.rstrip().endswith(f"The database lacks the migration {NEWEST}: run `minegnk migrate`.")


async def test_an_upgrade_and_the_way_back_leave_the_rows_of_one_version_alone(
    pipeline: Pipeline, version_before: Path, old_schema: DatabaseSettings
) -> None:
    first, second, third, fourth = in_parts(4)
    await apply_here(pipeline, [*first, *second, *third, *fourth])
    expected = await rows(pipeline)
    assert all(expected), "every table has rows"

    upgraded = Pipeline(old_schema, pipeline.kafka, pipeline.logs)
    try:
        for service in SERVICES:
            upgraded.start_of(version_before, service)
        await first_of_all(upgraded)
        # The old version on its own schema, and on the new one, which comes while events do.
        handled = asyncio.create_task(publish(upgraded, first))
        assert f"[X] {NEWEST}" in await asyncio.to_thread(run, upgraded, "migrate")
        await handled
        await publish(upgraded, second)
        # Both versions in one group; then the new one leaves, as on the way back.
        joining = [upgraded.start(service) for service in SERVICES]
        await until(partial(all_share, joining), "the new version's workers have partitions")
        await publish(upgraded, third)
        await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in joining))
        await publish(upgraded, fourth)
        assert await rows(upgraded) == expected
        await answers(upgraded, version_before)
    finally:
        upgraded.stop_all()


async def all_share(workers: list[Worker]) -> bool:
    """Whether each has partitions of its topic."""
    share = re.compile(r'(?=.*"partitions_assigned")(?=.*"(node.readings.v1|node.earnings.v1)").*"partitions": \[\d')
    return all(share.search(worker.log.read_text()) for worker in workers)


async def answers(pipeline: Pipeline, code: Path) -> None:
    """The API of this code answers from the database."""
    port = free_port()
    pipeline.start_of(code, "api", MINEGNK_API_PORT=str(port))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

        async def ready() -> bool:
            try:
                return (await client.get("/readyz")).is_success
            except httpx.TransportError:
                return False

        await until(ready, "the API is ready")
        assert (await client.get("/api/v1/nodes")).raise_for_status().json()
        assert (await client.get("/api/v1/summary")).raise_for_status().json()
