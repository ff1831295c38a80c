"""The whole pipeline on this machine: PostgreSQL, Kafka, the services and, unless it is live, a simulated network."""

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.embedded import runtime
from services.embedded.files import locked_unless_taken
from services.embedded.ports import free_port, is_free
from services.embedded.process import tied
from services.kernel import migrations
from services.kernel.errors import UnavailableError
from services.kernel.settings import ApiSettings, DatabaseSettings, KafkaSettings, PushSettings, load
from services.kernel.topics import ensure_topics

SERVICES: Final = ("cache", "earnings", "ingest", "api")
_STOP_SECONDS = 12.0
_READY = "MINEGNK_SIMULATOR_URL="

# The simulated trackers, polled often: an epoch is a minute there. Preferences as for the public ones.
SIMULATED_SOURCES: Final = """
[[sources]]
name = "hyperfusion"
kind = "hyperfusion"
base_urls = ["{url}"]
poll_interval = 5
preference = 600
requests_per_minute = 6000
allow_private = true

[[sources]]
name = "gonka_api"
kind = "gonka_api"
base_urls = ["{url}"]
poll_interval = {chain_interval}
preference = 0
requests_per_minute = 6000
allow_private = true

[[sources]]
name = "gonkascan"
kind = "gonkascan"
base_urls = ["{url}/gonkascan"]
poll_interval = 10
preference = 480
requests_per_minute = 6000
allow_private = true
"""

Say = Callable[[str], None]


@dataclass
class Stack:
    """What runs, to be stopped together. Every process ends with this one, even after a kill -9 of it."""

    directory: Path
    environment: dict[str, str]
    simulator_url: str | None = None
    api_url: str | None = None
    push_url: str | None = None
    processes: dict[str, Process] = field(default_factory=dict)

    async def launch(self, name: str, *arguments: str, reads: bool = False) -> Process:
        """Start `minegnk ARGUMENTS` as a process of its own; its log is DIR/logs/NAME.log."""
        logs = self.directory / "logs"
        await asyncio.to_thread(logs.mkdir, parents=True, exist_ok=True)
        with (logs / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *tied([sys.executable, "-m", "services", *arguments], orphan_signal=signal.SIGTERM),
                stdin=DEVNULL,
                stdout=PIPE if reads else log,
                stderr=log,
                env=self.environment,
                start_new_session=True,  # Ctrl-C is for us; we stop them in order
            )
        self.processes[name] = process
        return process

    def check(self) -> None:
        """Raise UnavailableError when a process ended by itself."""
        for name, process in self.processes.items():
            if process.returncode is not None:
                raise UnavailableError(
                    f"{name} ended with exit code {process.returncode}: read {self.directory / 'logs' / name}.log."
                )

    async def stop(self) -> None:
        """Stop the services, then the simulator, then PostgreSQL and Kafka."""
        for process in self.processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                await asyncio.wait_for(process.wait(), timeout=_STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
        await asyncio.to_thread(runtime.stop, self.directory)


@asynccontextmanager
async def running(
    directory: Path, *, simulator_arguments: Mapping[str, str] | None, chain_interval: float, say: Say
) -> AsyncIterator[Stack]:
    """Everything, in `directory`, for the length of the block; `simulator_arguments` None means the public trackers.

    Raises UserError with one sentence when something does not start, or another run uses the folder.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with locked_unless_taken(directory.with_suffix(".lock")) as ours:
        if not ours:
            raise UnavailableError(f"Another run uses {directory}: end it, or give this one its own --dir.")
        if simulator_arguments is not None:
            # A simulated network begins anew with each run: old rows would be another network's.
            await asyncio.to_thread(_empty, directory)
        stack = Stack(directory, dict(os.environ))
        try:
            await _start(stack, simulator_arguments, chain_interval, say)
            yield stack
        finally:
            say("stopping ...")
            await asyncio.shield(stack.stop())


def _empty(directory: Path) -> None:
    runtime.stop(directory)
    shutil.rmtree(directory, ignore_errors=True)


async def _start(stack: Stack, simulator_arguments: Mapping[str, str] | None, chain_interval: float, say: Say) -> None:
    simulator = None
    if simulator_arguments is not None:
        options = [f"--{name}={value}" for name, value in simulator_arguments.items()]
        simulator = await stack.launch("simulator", "simulator", "--port=0", *options, reads=True)
    endpoints = await asyncio.to_thread(runtime.start, stack.directory, with_parent=os.getpid(), on_progress=say)
    # For this process too: what follows reads its settings as every command does.
    os.environ.update(endpoints.environment())
    stack.environment |= endpoints.environment() | {"MINEGNK_METRICS_PORT": "0"}
    applied, _ = await asyncio.gather(
        asyncio.to_thread(migrations.apply, load(DatabaseSettings)), ensure_topics(load(KafkaSettings))
    )
    say(f"{len(applied)} migrations applied, topics made")
    if simulator is not None:
        stack.simulator_url = await _simulator_url(stack, simulator)
        sources = stack.directory / "sources.toml"
        sources.write_text(SIMULATED_SOURCES.format(url=stack.simulator_url, chain_interval=chain_interval))
        stack.environment["MINEGNK_SOURCES_FILE"] = str(sources)
        say(f"simulated network at {stack.simulator_url}")
    api_port = _port("MINEGNK_API_PORT", load(ApiSettings).port)
    push_port = _port("MINEGNK_PUSH_PORT", load(PushSettings).port)
    stack.environment |= {"MINEGNK_API_HOST": "127.0.0.1", "MINEGNK_API_PORT": str(api_port)}
    stack.environment |= {"MINEGNK_PUSH_HOST": "127.0.0.1", "MINEGNK_PUSH_PORT": str(push_port)}
    stack.api_url = f"http://127.0.0.1:{api_port}"
    stack.push_url = f"http://127.0.0.1:{push_port}"
    for name in SERVICES:
        await stack.launch(name, name)
    say("services started: " + ", ".join(SERVICES))


def _port(variable: str, port: int) -> int:
    """The port of the settings; where that is the default one and taken, a free one."""
    if port != 0 and (variable in os.environ or is_free(port)):
        return port
    return free_port()


async def _simulator_url(stack: Stack, simulator: Process) -> str:
    assert simulator.stdout is not None, "it was started to be read"
    line = (await asyncio.wait_for(simulator.stdout.readline(), timeout=30)).decode()
    if not line.startswith(_READY):
        await simulator.wait()
        stack.check()
    return line.removeprefix(_READY).strip()
