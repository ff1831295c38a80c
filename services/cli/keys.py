"""`minegnk keys`: who may ask the API."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar
from uuid import UUID

import asyncpg
import typer
from asyncpg import Record
from rich.table import Table
from rich.text import Text

from services.api.schemas import Scope
from services.api.store import access as store
from services.cli.letter_views import readable
from services.cli.push_keys import push_keys_app
from services.cli.terminal import console
from services.cli.times import moment
from services.kernel import database
from services.kernel.database import Connection
from services.kernel.errors import ConfigurationError, UserError
from services.kernel.keys import API_KEYS, new_secret, sha256
from services.kernel.settings import DatabaseSettings, load

keys_app = typer.Typer(
    name="keys", no_args_is_help=True, help="Keys: who may read and change over the API, and who may publish (`push`)."
)

keys_app.add_typer(push_keys_app)

T = TypeVar("T")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(keys_app)


@keys_app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is or what for, up to 100 characters.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="What it may do (repeat it for several).")] = None,
    user: Annotated[UUID | None, typer.Option(help="A user whose profile and nodes it may read besides.")] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends, like 2027-01-01 (UTC).")] = None,
) -> None:
    """Make a key and show it, this once: only its hash is kept."""
    ends = None if expires is None else moment(expires, datetime.now(UTC))
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise ConfigurationError("A key's name has 1 to 100 printable characters.")
    if ends is not None and ends <= datetime.now(UTC):
        raise ConfigurationError(f"--expires {expires} is over already.")
    secret = new_secret()
    scopes = sorted({each.value for each in scope or [Scope.READ]})

    async def add(connection: Connection) -> Record:
        try:
            return await store.add_key(connection, name, sha256(secret), scopes, user, ends)
        except asyncpg.ForeignKeyViolationError:
            raise ConfigurationError(f"There is no user {user}.") from None

    row = _with_admin(add)
    typer.echo(API_KEYS.text(row["id"], secret))


@keys_app.command("list")
def list_keys() -> None:
    """List all keys, without their secrets."""
    table = Table("id", "name", "scopes", "user", "created (UTC)", "expires", "revoked")
    for row in _with_admin(store.keys):
        cells = (
            str(row["id"]),
            readable(row["name"]),
            ", ".join(row["scopes"]),
            "-" if row["user_id"] is None else str(row["user_id"]),
            _time(row["created_at"]),
            _time(row["expires_at"]),
            _time(row["revoked_at"]),
        )
        table.add_row(*map(Text, cells))
    console().print(table)


@keys_app.command()
def revoke(key_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `minegnk keys list` shows it.")]) -> None:
    """End a key; running APIs notice within 10 seconds."""

    async def end(connection: Connection) -> Record | None:
        return await store.revoke_key(connection, key_id)

    row = _with_admin(end)
    if row is None:
        raise UserError(f"There is no key {key_id}: see `minegnk keys list`.")
    typer.echo(f"{readable(row['name'])} is revoked.")


def _with_admin(work: Callable[[Connection], Awaitable[T]]) -> T:
    """Do it in a transaction, with the admin role where there is one."""

    async def run() -> T:
        settings = load(DatabaseSettings)
        await database.check_migrated(settings, "api_keys")
        pool = database.Database(settings, application="minegnk keys", role="minegnk_admin", size=1)
        async with pool, pool.transaction() as connection:
            return await work(connection)

    return asyncio.run(run())


def _time(at: datetime | None) -> str:
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
