"""What the peers' command lines share."""

import argparse
import asyncio
import signal
from dataclasses import dataclass


@dataclass(frozen=True)
class Arguments:
    """`python -m bench.peers.NAME GROUP TABLE [--batch N]`."""

    group: str
    table: str
    batch: int


def arguments(*, batch: int) -> Arguments:
    """The command line's arguments; `batch` is how many records are written at once where it does not say so."""
    parser = argparse.ArgumentParser()
    parser.add_argument("group", help="consumer group")
    parser.add_argument("table", help="the table to write, made before (bench.peers.table)")
    parser.add_argument("--batch", type=int, default=batch, help="records of one write at most")
    given = parser.parse_args()
    return Arguments(given.group, given.table, given.batch)


def stopping() -> asyncio.Event:
    """An event that SIGTERM sets. Call it in the running loop."""
    event = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, event.set)
    return event
