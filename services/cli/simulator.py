"""`minegnk simulator`: a chain and trackers that do not exist."""

import asyncio
import signal
from typing import Annotated

import typer

from services.simulator.app import running
from services.simulator.faults import Fault, parse_fault
from services.simulator.world import WorldSettings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulator")(simulator)


def simulator(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one.")] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    hosts: Annotated[int, typer.Option(help="Hosts of the simulated network.")] = 200,
    days: Annotated[int, typer.Option(help="Days of settled epochs at the start.")] = 90,
    epoch_seconds: Annotated[float, typer.Option(help="Seconds from one settlement to the next.")] = 60.0,
    seed: Annotated[int, typer.Option(help="The same seed and start give the same network.")] = 1,
    late_zero_seconds: Annotated[
        float | None, typer.Option(help="Seconds of zeros after a settlement; default: 500 blocks.")
    ] = None,
    restated_share: Annotated[float, typer.Option(help="Part of the epochs that are corrected once.")] = 0.15,
    tracker_cadence: Annotated[float, typer.Option(help="Seconds between the tracker's cached replies.")] = 5.0,
    fault: Annotated[
        list[str] | None, typer.Option(help='A fault as JSON, such as {"kind": "429", "path": "/v1/*"}; repeatable.')
    ] = None,
) -> None:
    """Serve a simulated Gonka node and trackers until stopped; prints MINEGNK_SIMULATOR_URL when it listens."""
    settings = WorldSettings(
        seed=seed,
        hosts=hosts,
        days=days,
        epoch_seconds=epoch_seconds,
        late_zero_seconds=late_zero_seconds,
        restated_share=restated_share,
        tracker_cadence_seconds=tracker_cadence,
    )
    asyncio.run(_serve(settings, host, port, [parse_fault(text) for text in fault or []]))


async def _serve(settings: WorldSettings, host: str, port: int, faults: list[Fault]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stopped.set)
    async with running(settings, host=host, port=port, faults=faults) as simulator:
        typer.echo(f"MINEGNK_SIMULATOR_URL={simulator.base_url}")
        await stopped.wait()
