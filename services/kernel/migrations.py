"""The database schema's migrations, over yoyo: apply, roll back, list, create.

One process at a time changes a database: an advisory lock, held by the session that does the work, ends with that
session however it dies. Each migration and its entry in yoyo's bookkeeping commit together. The SQL may still be
repeated safely, for those who run it with yoyo itself, which commits the two one after the other.
"""

import glob
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors
from yoyo import read_migrations
from yoyo.backends import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.exceptions import BadMigration
from yoyo.migrations import default_migration_table

from services.kernel.database import unavailable
from services.kernel.errors import ConfigurationError, UnavailableError, UserError
from services.kernel.schema_version import FOLDER
from services.kernel.settings import DatabaseSettings

Notify = Callable[[str], None]

_LOCK_KEY = int.from_bytes(b"minegnk")
_LOCK_POLL_SECONDS = 0.2
_NUMBERED = re.compile(r"(\d{4})\.[a-z0-9-]+\.sql")


def apply(settings: DatabaseSettings, *, notify: Notify = lambda _: None, folder: Path = FOLDER) -> list[str]:
    """Apply every migration that the database does not have yet, and return their ids in order.

    A migration that fails leaves nothing behind; those before it stay. `notify` gets the database's warnings. Raises
    UnavailableError without a usable database, UserError when a migration is refused.
    """
    migrations = _read(folder)
    with _exclusively(settings, notify) as backend:
        pending = list(backend.to_apply(migrations))
        for migration in pending:
            _run(backend, migration, "apply")
        left = [migration.id for migration in backend.to_apply(migrations)]
    if left:
        raise UserError(f"{', '.join(left)} did not take effect: look into these files and migrate again.")
    return [migration.id for migration in pending]


def rollback_last(settings: DatabaseSettings, *, notify: Notify = lambda _: None, folder: Path = FOLDER) -> str | None:
    """Revert the last migration that was applied, and return its id; None where none is. Raises like `apply`."""
    return next(iter(_rollback(settings, notify, folder, at_most=1)), None)


def rollback_all(settings: DatabaseSettings, *, notify: Notify = lambda _: None, folder: Path = FOLDER) -> list[str]:
    """Revert every migration, the last one first, and return their ids in that order. Raises like `apply`."""
    return _rollback(settings, notify, folder, at_most=None)


def state(settings: DatabaseSettings, *, folder: Path = FOLDER) -> list[tuple[str, bool]]:
    """Each migration's id, in order, and whether the database has it. Changes nothing and waits for nobody."""
    migrations = _read(folder)
    with _connected(settings, lambda _: None) as backend:
        applied = _applied(backend)
    return [(migration.id, migration.id in applied) for migration in migrations]


def create(name: str, *, folder: Path = FOLDER) -> tuple[Path, Path]:
    """Write the next numbered pair of files, `name` in its words with dashes, to be filled in; returns their paths."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not slug:
        raise ConfigurationError(f"{name!r} has no letters or digits: name the migration after what it does.")
    last = _read(folder)[-1].id
    stem = f"{int(last[:4]) + 1:04}.{slug}"
    paths = folder / f"{stem}.sql", folder / f"{stem}.rollback.sql"
    up = f"-- What this gives, in a sentence. A killed run may repeat it: IF NOT EXISTS.\n-- depends: {last}\n"
    down = f"-- Takes back exactly what {stem}.sql created: IF EXISTS.\n"
    try:
        for path, text in zip(paths, (up, down), strict=True):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written ({error.strerror}): run it in a checkout.") from None
    return paths


def _rollback(settings: DatabaseSettings, notify: Notify, folder: Path, at_most: int | None) -> list[str]:
    migrations = _read(folder)
    with _exclusively(settings, notify) as backend:
        known = {migration.id for migration in migrations}
        if unknown := sorted(_applied(backend) - known):
            raise UserError(
                f"The database has {unknown[-1]}, which this version does not: roll back with the version that has it."
            )
        applied = list(backend.to_rollback(migrations))[:at_most]
        for migration in applied:
            _run(backend, migration, "rollback")
    return [migration.id for migration in applied]


def _run(backend: Any, migration: Any, direction: str) -> None:
    """Take one migration up or down, together with its bookkeeping: a kill leaves both or neither.

    yoyo's own apply_one writes a log of who did it besides; that asks for a user name, which a container may not have,
    and for the host's full name, which may take seconds.
    """
    mark = backend.mark_one if direction == "apply" else backend.unmark_one
    try:
        with backend.transaction() if migration.use_transactions else nullcontext():
            migration.process_steps(backend, direction)
            mark(migration, log=False)
    except psycopg.Error as error:
        if backend.connection.closed:
            raise
        hint = f" {error.diag.message_hint}" if error.diag.message_hint else ""
        verb = "applied" if direction == "apply" else "rolled back"
        reason = error.diag.message_primary or str(error)
        raise UserError(f"{migration.id} was not {verb}, nothing of it was kept: {reason}.{hint}") from None


def _read(folder: Path) -> list[Any]:
    """The folder's migrations, loaded, as yoyo's list in the order of their numbers."""
    migrations = read_migrations(glob.escape(str(folder)))
    if not migrations:
        raise ConfigurationError(f"There are no migrations in {folder}: the installation is incomplete, install again.")
    try:
        for migration in migrations:
            migration.load()
            if not _NUMBERED.fullmatch(f"{migration.id}.sql"):
                raise ConfigurationError(f"{migration.path}: name it NNNN.what-it-does.sql.")
            if not Path(migration.path).with_suffix(".rollback.sql").exists():
                raise ConfigurationError(f"{migration.path} has no rollback: write {migration.id}.rollback.sql.")
    except BadMigration as error:
        raise ConfigurationError(f"{error}: mend its `-- depends:` line.") from None
    return migrations  # type: ignore[no-any-return]


def _applied(backend: Any) -> set[str]:
    if backend.execute("SELECT to_regclass(:name)", {"name": default_migration_table}).fetchone()[0] is None:
        return set()
    return {row[0] for row in backend.execute(f"SELECT migration_id FROM {default_migration_table}")}  # noqa: S608


@contextmanager
def _exclusively(settings: DatabaseSettings, notify: Notify) -> Iterator[Any]:
    """The database, as yoyo's backend, while no other migrate, rollback or yoyo works on this database."""
    with _connected(settings, notify) as backend:
        # Polled: a session that waits inside a statement would block CREATE INDEX CONCURRENTLY of the one that works.
        waited = False
        while not backend.execute("SELECT pg_try_advisory_lock(:key)", {"key": _LOCK_KEY}).fetchone()[0]:
            if not waited:
                notify("another migrate is at work: waiting for it")
            waited = True
            time.sleep(_LOCK_POLL_SECONDS)
        backend.execute(backend.format_sql(backend.create_lock_table_sql).replace("TABLE", "TABLE IF NOT EXISTS", 1))
        # Nobody else can hold yoyo's lock now: a row in it was left by a process that was killed.
        backend.break_lock()
        with backend.lock():
            backend.ensure_internal_schema_updated()
            yield backend


@contextmanager
def _connected(settings: DatabaseSettings, notify: Notify) -> Iterator[Any]:
    # Not as a URL: a password, user or database name may hold any character.
    uri = DatabaseURI(
        scheme="postgresql+psycopg",
        username=settings.username,
        password=settings.password.get_secret_value(),
        hostname=settings.host,
        port=settings.port,
        database=settings.database,
        args={"connect_timeout": "10", "application_name": "minegnk migrate", **settings.libpq_tls},
    )
    try:
        backend = PostgresqlPsycopgBackend(uri, default_migration_table)
    except psycopg.OperationalError as error:
        raise unavailable(settings, _classified(error)) from None
    try:
        with backend:
            backend.connection.add_notice_handler(_warnings_to(notify))
            # The session of a killed process must not outlive it, holding locks, while it waits for one.
            backend.execute("SET client_connection_check_interval = '2s'")
            yield backend
    except errors.InsufficientPrivilege as error:
        raise UserError(
            f"PostgreSQL does not let {settings.username!r} migrate {settings.database!r} "
            f"({error.diag.message_primary}): make it the owner of the database."
        ) from None
    except psycopg.Error as error:
        raise UnavailableError(
            f"PostgreSQL at {settings.host}:{settings.port} broke off ({str(error).splitlines()[0]}): "
            "see to the server and start again, nothing is half done."
        ) from None


def _warnings_to(notify: Notify) -> Callable[[errors.Diagnostic], None]:
    def handle(diagnostic: errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            notify(diagnostic.message_primary or "")

    return handle


def _classified(error: psycopg.OperationalError) -> psycopg.Error:
    """The error that the server meant: libpq gives a refused connection's reason as text only, without its SQLSTATE."""
    text = str(error)
    if "password authentication failed" in text or "no password supplied" in text or re.search(_NO_ROLE, text):
        return errors.InvalidPassword()
    return errors.InvalidCatalogName() if re.search(_NO_DATABASE, text) else error


_NO_ROLE = r'role ".*" does not exist'
_NO_DATABASE = r'database ".*" does not exist'
