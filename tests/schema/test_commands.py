"""minegnk migrate, rollback, migrations, migration: what a person sees, above all when something is wrong."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from services.cli.main import create_app
from services.kernel import migrations
from services.kernel.errors import UnavailableError, UserError
from services.kernel.settings import DatabaseSettings
from tests.schema.conftest import NewDatabase, NewLogin
from tests.schema.sessions import environment, session
from tests.schema.test_up_and_down import NAMES

pytestmark = pytest.mark.integration


def _run(database: DatabaseSettings, *arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(create_app(), list(arguments), env={**environment(database), **variables})


def test_the_list_shows_what_is_applied(database: DatabaseSettings, up_to: Callable[[int], Path]) -> None:
    migrations.apply(database, folder=up_to(2))
    listed = _run(database, "migrations", NODE_ENV="staging").stdout.splitlines()
    assert listed[0] == f"staging: database {database.database} on {database.host}:{database.port}"
    assert listed[1:] == [f"[X] {name}" for name in NAMES[:2]] + [f"[ ] {name}" for name in NAMES[2:]]


def test_listing_changes_nothing(database: DatabaseSettings) -> None:
    _run(database, "migrations")
    with session(database) as connection:
        assert connection.execute("SELECT FROM pg_tables WHERE schemaname = 'public'").rowcount == 0


def test_migrate_rollback_and_rollback_all_say_what_they_did(database: DatabaseSettings) -> None:
    applied = [*(f"[X] {name}" for name in NAMES), f"{len(NAMES)} applied."]
    assert _run(database, "migrate").stdout.splitlines()[1:] == applied
    assert _run(database, "migrate").stdout.endswith("Nothing to do: every migration is applied.\n")
    assert _run(database, "rollback").stdout.splitlines()[1:] == [f"[ ] {NAMES[-1]}", "1 reverted."]
    assert _run(database, "rollback", "--all").stdout.splitlines()[-1] == f"{len(NAMES) - 1} reverted."
    assert _run(database, "rollback").stdout.endswith("Nothing to do: no migration is applied.\n")


def test_the_environments_name_is_development_unless_it_is_set(
    database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NODE_ENV", raising=False)
    assert _run(database, "migrations").stdout.startswith("development: ")


def test_a_server_that_is_not_there_is_named_with_host_and_port(database: DatabaseSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"127.0.0.1:{port} cannot be reached: start it"):
            migrations.apply(database.model_copy(update={"port": port}))


def test_a_wrong_password_names_the_user_and_keeps_the_password_to_itself(database: DatabaseSettings) -> None:
    wrong = database.model_copy(update={"password": SecretStr("not-the-p@ssword")})
    with pytest.raises(UnavailableError, match=f"refused the user '{database.username}'.* DB_PASSWORD") as refused:
        migrations.apply(wrong)
    assert "not-the-p@ssword" not in str(refused.value)
    assert refused.value.__suppress_context__


def test_an_unknown_user_is_named(database: DatabaseSettings) -> None:
    with pytest.raises(UnavailableError, match="refused the user 'nobody'"):
        migrations.state(database.model_copy(update={"username": "nobody"}))


def test_a_missing_database_is_named(database: DatabaseSettings) -> None:
    with pytest.raises(UnavailableError, match="has no database 'missing': create it"):
        migrations.rollback_all(database.model_copy(update={"database": "missing"}))


def test_a_user_who_may_not_create_tables_is_told_to_own_the_database(
    database: DatabaseSettings, new_login: NewLogin
) -> None:
    stranger = new_login("").model_copy(update={"database": database.database})
    with pytest.raises(UserError, match=f"not let '{stranger.username}' migrate .*: make it the owner"):
        migrations.apply(stranger)


def test_odd_characters_in_a_password_are_no_problem(new_database: NewDatabase, new_login: NewLogin) -> None:
    database = new_database(new_login("CREATEROLE"))
    assert len(migrations.apply(database)) == len(NAMES)
