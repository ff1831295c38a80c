"""`minegnk keys push`: who may publish over HTTP, and as which source."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID, uuid4

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from services.cli.letter_views import readable
from services.cli.publish import connected
from services.cli.terminal import console
from services.cli.times import moment, span
from services.kernel.errors import ConfigurationError, InvalidRecordError, UserError
from services.kernel.events import OPERATOR_SOURCE, check_source
from services.kernel.keys import PUSH_KEYS, new_secret, sha256
from services.kernel.push_keys import KINDS, Kind, PushKey, read_keys, write_keys
from services.kernel.settings import KafkaSettings, load

push_keys_app = typer.Typer(
    name="push", no_args_is_help=True, help="Producers' keys: who may publish over HTTP, and as which source."
)

KeyId = Annotated[UUID, typer.Argument(metavar="ID", help="As `minegnk keys push list` shows it.")]


@dataclass(frozen=True)
class _Made:
    """A key, and the secret that is told once."""

    key: PushKey
    secret: str

    @property
    def text(self) -> str:
        return PUSH_KEYS.text(self.key.id, self.secret)


@push_keys_app.command()
def create(
    source: Annotated[str, typer.Argument(help="The one source as which it may publish, like my-pool.")],
    kind: Annotated[list[str] | None, typer.Option(help="readings or earnings (repeat it; readings).")] = None,
    name: Annotated[str | None, typer.Option(help="Whose it is or what for; the source's name when left out.")] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends, like 2027-01-01 (UTC).")] = None,
) -> None:
    """Make a key and show it, this once: only its hash is kept. Running ingests know it within a second."""
    now = datetime.now(UTC)
    ends = None if expires is None else moment(expires, now)
    if ends is not None and ends <= now:
        raise ConfigurationError(f"--expires {expires} is over already.")
    name = source if name is None else name
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise ConfigurationError("A key's name has 1 to 100 printable characters.")
    try:
        check_source(source)
    except InvalidRecordError as error:
        raise ConfigurationError(error.detail + ".") from None
    made = _made(name, source, _kinds(kind or ["readings"]), ends)
    if source == OPERATOR_SOURCE:
        typer.echo(f"Whoever has this key outranks every tracker: {OPERATOR_SOURCE} is a person's own word.", err=True)
    asyncio.run(_write(load(KafkaSettings), [made.key]))
    typer.echo(made.text)


@push_keys_app.command("list")
def list_keys() -> None:
    """List all keys, without their secrets."""
    table = Table("id", "name", "source", "kinds", "created (UTC)", "expires", "revoked")
    keys = asyncio.run(read_keys(load(KafkaSettings)))
    for key in sorted(keys.values(), key=lambda key: (key.source, key.created_at)):
        cells = (
            str(key.id),
            readable(key.name),
            key.source,
            ", ".join(key.kinds),
            _time(key.created_at),
            _time(key.expires_at),
            _time(key.revoked_at),
        )
        table.add_row(*map(Text, cells))
    console().print(table)


@push_keys_app.command()
def rotate(
    key_id: KeyId,
    overlap: Annotated[str, typer.Option(help="How long the old key goes on to hold, like 1h or 2d.")] = "1d",
) -> None:
    """Make a key that may do the same, show it, and let the old one end after the overlap."""
    asyncio.run(_rotate(load(KafkaSettings), key_id, span(overlap)))


@push_keys_app.command()
def revoke(key_id: KeyId) -> None:
    """End a key at once: running ingests notice within a second."""
    asyncio.run(_revoke(load(KafkaSettings), key_id))


async def _rotate(kafka: KafkaSettings, key_id: UUID, overlap: timedelta) -> None:
    now = datetime.now(UTC)
    old = await _valid(kafka, key_id, now)
    made = _made(old.name, old.source, old.kinds, old.expires_at)
    ends = now + overlap if old.expires_at is None else min(now + overlap, old.expires_at)
    await _write(kafka, [made.key, msgspec.structs.replace(old, expires_at=ends)])
    typer.echo(made.text)
    typer.echo(f"The old key holds until {_time(ends)} UTC.", err=True)


async def _revoke(kafka: KafkaSettings, key_id: UUID) -> None:
    now = datetime.now(UTC)
    key = await _valid(kafka, key_id, now)
    await _write(kafka, [msgspec.structs.replace(key, revoked_at=now)])
    typer.echo(f"{readable(key.name)} is revoked.")


async def _valid(kafka: KafkaSettings, key_id: UUID, now: datetime) -> PushKey:
    key = (await read_keys(kafka)).get(key_id)
    if key is None:
        raise UserError(f"There is no key {key_id}: see `minegnk keys push list`.")
    if not key.holds(now):
        raise UserError(f"The key {key_id} has ended already.")
    return key


async def _write(kafka: KafkaSettings, keys: Sequence[PushKey]) -> None:
    async with connected(kafka) as publisher:
        await write_keys(publisher, keys)


def _made(name: str, source: str, kinds: tuple[Kind, ...], expires_at: datetime | None) -> _Made:
    secret = new_secret()
    key = PushKey(
        id=uuid4(),
        name=name,
        source=source,
        kinds=kinds,
        secret_sha256=sha256(secret),
        created_at=datetime.now(UTC),
        expires_at=expires_at,
    )
    return _Made(key, secret)


def _kinds(words: Sequence[str]) -> tuple[Kind, ...]:
    if unknown := sorted(set(words) - KINDS.keys()):
        raise ConfigurationError(f"--kind is readings or earnings, not {unknown[0]!r}.")
    return tuple(kind for kind in KINDS if kind in words)


def _time(at: datetime | None) -> str:
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
