"""A process that is stuck says where and ends with a code of its own; one that was only suspended goes on."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from services.kernel.watchdog import STUCK_EXIT_CODE
from tests.integration.pipeline import REPOSITORY

pytestmark = pytest.mark.integration

PROGRAM = """
import asyncio, sys, time
from datetime import timedelta
from services.kernel.watchdog import Watchdog

class Worker:
    beats = 0

async def waits_for_ever():
    await asyncio.Event().wait()

async def main(how):
    worker = Worker()
    watchdog = Watchdog({"the worker": lambda: worker.beats}, timedelta(seconds=1), tick_seconds=0.1)
    await watchdog.start()
    print("watched", flush=True)
    if how == "blocked":
        time.sleep(60)
    elif how == "awaiting":
        await waits_for_ever()
    else:
        for _ in range(20):
            worker.beats += 1
            await asyncio.sleep(0.1)
    await watchdog.stop()

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[str]"]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


def start(how: str, started: list["subprocess.Popen[str]"]) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "watched\n"
    return process


@pytest.mark.parametrize(("how", "place"), [("blocked", "in main"), ("awaiting", "in waits_for_ever")])
def test_a_stuck_process_dumps_its_stacks_and_ends(
    how: str, place: str, started: list["subprocess.Popen[str]"]
) -> None:
    process = start(how, started)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == STUCK_EXIT_CODE
    assert "the worker" in output
    assert place in errors
    assert "Thread 0x" in errors, "every thread's stack"


def test_progress_keeps_a_process_alive(started: list["subprocess.Popen[str]"]) -> None:
    process = start("working", started)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0


def test_a_process_that_was_suspended_is_not_stuck(started: list["subprocess.Popen[str]"]) -> None:
    process = start("working", started)
    process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)  # longer than the watchdog's patience; there is no condition to wait for
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0
