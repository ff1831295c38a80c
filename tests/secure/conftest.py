"""Servers that speak TLS, started once, and an authority that signed their certificates."""

from collections.abc import Iterator

import pytest

from tests.integration.conftest import kafka, new_database, pipeline
from tests.schema.conftest import up_to
from tests.secure.certificates import Authority
from tests.secure.servers import EncryptedPostgres, SecuredKafka

__all__ = ["kafka", "new_database", "pipeline", "up_to"]


@pytest.fixture(scope="package")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom clients are to trust."""
    return Authority(tmp_path_factory.mktemp("authority") / "a")


@pytest.fixture(scope="package")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority of the same name that signed nothing here."""
    return Authority(tmp_path_factory.mktemp("authority") / "b")


@pytest.fixture(scope="package")
def secured(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A Kafka with a port of each protocol."""
    server = SecuredKafka(tmp_path_factory.mktemp("secured"), authority)
    server.prepare()
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="package")
def encrypted(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncryptedPostgres]:
    """A PostgreSQL that speaks TLS."""
    server = EncryptedPostgres(tmp_path_factory.mktemp("encrypted"), authority)
    server.prepare()
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()
