"""Where the commands write, and how they are stopped."""

import asyncio
import signal
from collections.abc import Coroutine
from decimal import Decimal

import typer
from rich.console import Console

_WIDTH_WITHOUT_TERMINAL = 200


def plain(value: object) -> str:
    """A value as text; decimals with all their places (str() would write 1E-8)."""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def console() -> Console:
    """As wide as the terminal; where there is none, wide enough that no table is folded."""
    found = Console()
    return found if found.is_terminal else Console(width=_WIDTH_WITHOUT_TERMINAL)


def until_told_to_stop(work: Coroutine[None, None, None]) -> None:
    """Run to the end, or until Ctrl-C or SIGTERM, which cancel the work."""
    told: list[signal.Signals] = []

    async def stoppable() -> None:
        main = asyncio.current_task()
        assert main is not None, "a coroutine runs in a task"

        def stop(number: signal.Signals) -> None:
            told.append(number)
            main.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
        await work

    try:
        asyncio.run(stoppable())
    except asyncio.CancelledError:
        raise typer.Exit(128 + told[0]) from None  # as shells tell of a process that a signal ended
