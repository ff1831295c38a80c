"""`minegnk run`: the whole pipeline from one command, and the proof that it counts right."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import httpx
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.cli.proof import Proof, compare
from services.cli.publish import connected
from services.cli.snapshot import Tables, TopicReader, TopicState, read_tables
from services.cli.status import screen
from services.kernel import database
from services.kernel.database import OwnConnection
from services.kernel.errors import ConfigurationError, UnavailableError, UserError
from services.kernel.refresh import ask_for_epochs
from services.kernel.settings import DatabaseSettings, KafkaSettings, load

if TYPE_CHECKING:
    from services.cli.stack import Stack

CHAIN: Final = "gonka_api"
NEW_EPOCHS: Final = 3
_ONCE_LIMIT_SECONDS = 85.0


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def run(
        once: Annotated[
            bool, typer.Option("--once", help="Until three new epochs are accounted for, then prove it.")
        ] = False,
        live: Annotated[
            bool, typer.Option("--live", help="The public trackers instead of the simulated network.")
        ] = False,
        directory: Annotated[Path, typer.Option("--dir", help="Data and logs.")] = Path(".minegnk"),
        seed: Annotated[int, typer.Option(help="Of the simulated network.")] = 1,
    ) -> None:
        """Run everything on this machine: PostgreSQL, Kafka, the services and a simulated network."""
        if once and live:
            raise ConfigurationError("--once proves against the simulated network: leave --live out.")
        console = Console()
        try:
            asyncio.run(_run(console, directory / ("live" if live else "run"), once=once, live=live, seed=seed))
        except (KeyboardInterrupt, asyncio.CancelledError):
            console.print("Stopped.")


async def _run(console: Console, directory: Path, *, once: bool, live: bool, seed: int) -> None:
    # Only this command needs the extra; an image of a service does without.
    try:
        from services.cli import stack  # noqa: PLC0415
    except ModuleNotFoundError:
        raise UnavailableError("Run `pip install 'minegnk[embedded]'`: the embedded servers are an extra.") from None
    _cancel_on_signals()
    began = time.monotonic()
    simulated = None if live else {"epoch-seconds": "15" if once else "60", "seed": str(seed)}
    console.print(f"Data and logs: {directory}")

    def say(text: str) -> None:
        console.print(f"{time.monotonic() - began:5.1f} s  {text}")

    async with (
        stack.running(directory, simulator_arguments=simulated, chain_interval=2 if once else 5, say=say) as running,
        _observer() as (connection, reader),
    ):
        view = _View(console, running, connection, reader)
        await _page_answers(running)
        say(f"the page: {running.api_url}")
        if running.simulator_url is None:
            await view.show()
            return
        async with httpx.AsyncClient(base_url=running.simulator_url, timeout=10) as client:
            state = (await client.get("/_simulator/state")).raise_for_status().json()
            past = range(state["first_epoch"], state["last_past_epoch"] + 1)
            async with connected(load(KafkaSettings)) as publisher:
                await ask_for_epochs(publisher, CHAIN, past, requested_by="minegnk run")
            say(f"asked for {len(past)} past epochs")
            if once:
                await _prove(view, client, state)
            else:
                await view.show()


async def _page_answers(running: "Stack") -> None:
    """Wait until the API is ready, or a process ended by itself (UnavailableError)."""
    async with httpx.AsyncClient(base_url=running.api_url or "", timeout=5) as client:
        while True:
            running.check()
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get("/readyz")).is_success:
                    return
            await asyncio.sleep(0.1)


def _cancel_on_signals() -> None:
    """Let Ctrl-C and SIGTERM end this command in order: what was started is stopped."""
    main = asyncio.current_task()
    assert main is not None
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, main.cancel)


@contextlib.asynccontextmanager
async def _observer() -> AsyncIterator[tuple[OwnConnection, TopicReader]]:
    connection = await database.connect(load(DatabaseSettings))
    try:
        async with TopicReader(load(KafkaSettings)) as reader:
            yield connection, reader
    finally:
        await connection.close()


async def _prove(view: "_View", client: httpx.AsyncClient, begin: dict[str, Any]) -> None:
    """Wait until every epoch, and three new ones, are accounted for; print the proof or raise UserError."""
    deadline = time.monotonic() + _ONCE_LIMIT_SECONDS
    wanted = begin["last_past_epoch"] + NEW_EPOCHS
    proof: Proof | None = None
    with view.live() as live:
        while True:
            tables, topics = await view.refresh(live)
            settled = (await client.get("/_simulator/state")).raise_for_status().json()["settled_epoch"]
            if settled >= wanted:
                proof = await compare(view.connection, client, first_epoch=begin["first_epoch"], last_epoch=settled)
            if (proof is not None and proof.holds) or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)
    view.console.print(_proof_table(tables, topics, proof))
    if proof is None or not proof.holds:
        raise UserError(f"The ledger does not equal what was paid: read the logs in {view.running.directory / 'logs'}.")
    view.console.print("[green]Every ngonka is accounted for.[/]")


def _proof_table(tables: Tables, topics: list[TopicState], proof: Proof | None) -> Table:
    table = Table(show_header=False, title="What was counted", title_justify="left")
    table.add_row("nodes", f"{tables.nodes:,}")
    table.add_row("readings on Kafka", f"{topics[0].records:,}")
    table.add_row("earnings reports on Kafka", f"{topics[1].records:,}")
    if proof is not None:
        table.add_row("epochs", f"{proof.epochs:,}")
        table.add_row("paid by the simulator, ngonka", f"{proof.paid:,}")
        table.add_row("in the ledger, ngonka", f"{proof.in_ledger:,}")
        table.add_row("in the history, GNK", f"{proof.in_history_gnk:,} in {proof.history_rows:,} rows")
        table.add_row("payments that differ", f"{proof.wrong_payments:,}")
        table.add_row("history rows that differ", f"{proof.wrong_history:,}")
    return table


class _View:
    """What the person watches: the status screen, with rates, for as long as the pipeline runs."""

    def __init__(self, console: Console, running: "Stack", connection: OwnConnection, reader: TopicReader) -> None:
        self.console = console
        self.running = running
        self.connection = connection
        self._reader = reader
        self._records: dict[str, int] = {}
        self._at = time.monotonic()

    async def show(self) -> None:
        """Keep the screen fresh until cancelled. Raises UnavailableError when a process ended by itself."""
        with self.live() as live:
            while True:
                await self.refresh(live)
                await asyncio.sleep(0.5)

    def live(self) -> Live:
        """A place on the terminal that is written over, and left empty at the end."""
        return Live(console=self.console, auto_refresh=False, transient=True)

    async def refresh(self, live: Live) -> tuple[Tables, list[TopicState]]:
        """Read everything once and show it."""
        self.running.check()
        tables, topics = await read_tables(self.connection), await self._reader.read()
        if self.console.is_terminal:
            frame = Table.grid()
            frame.add_row(self._rates(topics))
            frame.add_row(screen(tables, topics, datetime.now(UTC)))
            frame.add_row(
                f"page: {self.running.api_url}   logs: {self.running.directory / 'logs'}   Ctrl-C stops everything"
            )
            live.update(frame, refresh=True)
        return tables, topics

    def _rates(self, topics: list[TopicState]) -> str:
        now = time.monotonic()
        seconds = max(now - self._at, 0.001)
        parts = [
            f"{topic.topic} {(topic.records - self._records.get(topic.topic, topic.records)) / seconds:,.0f}/s"
            for topic in topics
        ]
        self._records, self._at = {topic.topic: topic.records for topic in topics}, now
        return "  ".join(parts)
