"""`minegnk simulator` as a process."""

import asyncio
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import aiohttp
import pytest


@asynccontextmanager
async def command(*arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services", "simulator", *arguments, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_it_prints_its_address_serves_and_stops_quickly_on_a_signal(signum: signal.Signals) -> None:
    async with command("--hosts", "20", "--epoch-seconds", "15") as process, aiohttp.ClientSession() as session:
        assert process.stdout
        name, url = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip().split("=")
        assert name == "MINEGNK_SIMULATOR_URL"
        async with session.get(f"{url}/_simulator/state") as response:
            assert (await response.json())["settled_epochs"] > 80
        began = monotonic()
        process.send_signal(signum)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert monotonic() - began < 3


async def test_a_port_in_use_is_one_sentence_and_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with command("--port", str(port)) as process:
            output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 3
    assert output == b""
    assert errors.decode() == (
        f"minegnk: Port {port} of 127.0.0.1 is in use: choose another with --port, or stop what listens there.\n"
    )


@pytest.mark.parametrize("arguments", [("--hosts", "0"), ("--fault", '{"kind": "earthquake"}')])
async def test_a_wrong_argument_is_one_sentence_and_a_failure(arguments: tuple[str, str]) -> None:
    async with command(*arguments) as process:
        _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert errors.decode().count("\n") == 1
