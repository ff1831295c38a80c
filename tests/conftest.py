"""What every test can ask for. PostgreSQL and Kafka are the real ones, started once per session."""

import os
from collections.abc import Iterator

import pytest

from services.embedded import runtime as embedded
from services.embedded.servers import Endpoints


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """A PostgreSQL and a Kafka of this test session; the very first one downloads Kafka's jars."""
    directory = tmp_path_factory.mktemp("runtime")
    yield embedded.start(directory, with_parent=os.getpid())
    embedded.stop(directory)


@pytest.fixture(scope="session")
def admin_dsn(runtime: Endpoints) -> str:
    """PostgreSQL's superuser in the database `minegnk`, as a libpq connection string."""
    return (
        f"host=127.0.0.1 port={runtime.postgres_port} dbname=minegnk user=minegnk password={runtime.postgres_password}"
    )
