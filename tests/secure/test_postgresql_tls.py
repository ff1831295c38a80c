"""PostgreSQL with TLS, in libpq's terms: services and migrations alike, and each mistake as a sentence."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from services.embedded.postgres import DATABASE, USER
from services.kernel import migrations
from services.kernel.database import Database, connect
from services.kernel.errors import UnavailableError
from services.kernel.settings import DatabaseSettings
from tests.integration.pipeline import Pipeline
from tests.integration.test_cli_doctor import wrong
from tests.schema.sessions import session
from tests.secure.certificates import Authority
from tests.secure.servers import EncryptedPostgres

pytestmark = pytest.mark.integration

IN_USE = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def tls(settings: DatabaseSettings, **changes: object) -> DatabaseSettings:
    """These settings with others, checked as at the start of a service."""
    return DatabaseSettings.model_validate({**settings.model_dump(), **changes})


@pytest.fixture(scope="module")
def superuser(encrypted: EncryptedPostgres) -> DatabaseSettings:
    """The superuser, without TLS; there are also the users of pg_hba.conf."""
    settings = DatabaseSettings.model_validate(
        {
            "host": "127.0.0.1",
            "port": encrypted.port,
            "username": USER,
            "password": SecretStr(encrypted.password),
            "database": DATABASE,
            "sslmode": "disable",
        }
    )
    with session(settings) as connection:
        for name in ("encrypted", "certified"):
            connection.execute(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD 'of-{name}'".encode())
    return settings


@pytest.fixture(scope="module")
def verified(superuser: DatabaseSettings, authority: Authority) -> DatabaseSettings:
    """A user who may come over TLS only, and checks the server."""
    return tls(
        superuser,
        username="encrypted",
        password=SecretStr("of-encrypted"),
        sslmode="verify-full",
        sslrootcert=authority.file,
    )


async def test_migrations_and_services_work_over_a_verified_connection(
    verified: DatabaseSettings, up_to: Callable[[int], Path]
) -> None:
    # Debian's PostgreSQL may be older than the migration of the roles needs.
    folder = up_to(9)
    assert len(migrations.apply(verified, folder=folder)) == 9
    assert len(migrations.rollback_all(verified, folder=folder)) == 9
    database = Database(verified, application="cache")
    async with database, database.connection() as connection:
        row = await connection.fetchrow(IN_USE)
        assert row is not None
        assert row["ssl"]
        assert row["version"] in ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize(("mode", "used"), [("disable", False), ("prefer", True), ("require", True)])
async def test_the_other_modes_mean_what_they_mean_to_libpq(superuser: DatabaseSettings, mode: str, used: bool) -> None:
    settings = tls(superuser, sslmode=mode)
    connection = await connect(settings)
    assert await connection.fetchval(IN_USE) is used
    await connection.close()
    with psycopg.connect(
        host=settings.host,
        port=settings.port,
        user=settings.username,
        password=settings.password.get_secret_value(),
        dbname=settings.database,
        **settings.libpq_tls,  # type: ignore[arg-type]  # typed for all of its parameters at once
    ) as session_:
        assert session_.execute(IN_USE.encode()).fetchall()[0][0] is used


async def test_a_user_with_a_certificate(verified: DatabaseSettings, authority: Authority) -> None:
    own = authority.sign("certified")
    settings = tls(verified, username="certified", password=SecretStr("of-certified"))
    with pytest.raises(UnavailableError, match=r"wants a certificate of the client: set DB_SSLCERT and DB_SSLKEY\.$"):
        await connect(settings)
    with_it = tls(settings, sslcert=own.certificate, sslkey=own.key)
    assert migrations.state(with_it)
    connection = await connect(with_it)
    assert await connection.fetchval("SELECT current_user") == "certified"
    await connection.close()


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "wrong authority": ({"sslrootcert": "stranger"}, "is not trusted: set DB_SSLROOTCERT to the authority that"),
    "wrong name": ({"host": "localhost"}, "for another name: write the name that it is for into DB_HOST"),
    "no TLS from us": ({"sslmode": "disable", "sslrootcert": None}, "encrypted connections only: set DB_SSLMODE to"),
    "wrong password": ({"password": SecretStr("not-this-one")}, "check DB_USERNAME and DB_PASSWORD"),
}


async def _connect(settings: DatabaseSettings) -> None:
    await connect(settings)


async def _migrate(settings: DatabaseSettings) -> None:
    migrations.state(settings)


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("come", [_connect, _migrate])
async def test_each_mistake_is_one_sentence_that_says_what_to_do(
    verified: DatabaseSettings,
    stranger: Authority,
    mistake: str,
    come: Callable[[DatabaseSettings], Awaitable[None]],
) -> None:
    changes, told = MISTAKES[mistake]
    if changes.get("sslrootcert") == "stranger":
        changes = {"sslrootcert": stranger.file}
    with pytest.raises(UnavailableError) as caught:
        await come(tls(verified, **changes))
    assert told in str(caught.value)
    assert "not-this-one" not in str(caught.value)


async def test_a_server_that_speaks_no_tls(pipeline: Pipeline, authority: Authority) -> None:
    settings = tls(pipeline.database, sslmode="verify-full", sslrootcert=authority.file)
    with pytest.raises(UnavailableError, match=r"speaks no TLS: switch it on there \(ssl = on\), or set DB_SSLMODE"):
        await connect(settings)
    with pytest.raises(UnavailableError, match="speaks no TLS"):
        migrations.state(settings)


def test_doctor_says_the_same(
    pipeline: Pipeline, verified: DatabaseSettings, stranger: Authority, tmp_path: Path
) -> None:
    sources = tmp_path / "none.toml"
    sources.write_text("sources = []\n")
    found = wrong(
        pipeline,
        "PostgreSQL",
        MINEGNK_SOURCES_FILE=str(sources),
        DB_PORT=str(verified.port),
        DB_USERNAME="encrypted",
        DB_PASSWORD="of-encrypted",
        DB_SSLMODE="verify-full",
        DB_SSLROOTCERT=str(stranger.file),
    )
    assert "DB_SSLROOTCERT" in found["action"]
    assert "of-encrypted" not in str(found)
