"""`minegnk migrate`, `rollback`, `migrations`, `migration`: the database's schema."""

from typing import Annotated

import typer
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.kernel import migrations
from services.kernel.settings import DatabaseSettings, load


class EnvironmentSettings(BaseSettings):
    """Which environment the commands work on, as the specification names it."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    node_env: str = Field("development", description="the environment's name, shown by the schema commands")


def register(app: typer.Typer) -> None:
    """Add the schema's commands to the command line."""
    app.command()(migrate)
    app.command()(rollback)
    app.command("migrations")(list_migrations)
    app.command("migration")(new_migration)


def migrate() -> None:
    """Bring the database's schema up to date."""
    settings = _announced()
    done = migrations.apply(settings, notify=_warn)
    for migration in done:
        typer.echo(f"[X] {migration}")
    typer.echo(f"{len(done)} applied." if done else "Nothing to do: every migration is applied.")


def rollback(
    every: Annotated[bool, typer.Option("--all", help="Revert every migration, not only the last.")] = False,
) -> None:
    """Revert the last migration, with the data of the tables that it created."""
    settings = _announced()
    if every:
        reverted = migrations.rollback_all(settings, notify=_warn)
    else:
        last = migrations.rollback_last(settings, notify=_warn)
        reverted = [last] if last else []
    for migration in reverted:
        typer.echo(f"[ ] {migration}")
    typer.echo(f"{len(reverted)} reverted." if reverted else "Nothing to do: no migration is applied.")


def list_migrations() -> None:
    """List the migrations: [X] applied, [ ] not applied."""
    for migration, applied in migrations.state(_announced()):
        typer.echo(f"[{'X' if applied else ' '}] {migration}")


def new_migration(name: Annotated[str, typer.Argument(help="What it does, in a few words.")]) -> None:
    """Generate the next numbered migration and its rollback."""
    for path in migrations.create(name):
        typer.echo(path)


def _announced() -> DatabaseSettings:
    settings = load(DatabaseSettings)
    environment = load(EnvironmentSettings).node_env
    typer.echo(f"{environment}: database {settings.database} on {settings.host}:{settings.port}")
    return settings


def _warn(message: str) -> None:
    typer.echo(f"minegnk: {message}", err=True)
