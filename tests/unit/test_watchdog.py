"""The watchdog counts its own ticks: time in which the whole process stood still is nobody's standstill."""

import asyncio
import time
from datetime import timedelta

from services.kernel.watchdog import Watchdog

_PATIENCE = timedelta(milliseconds=200)


class Noted(Watchdog):
    """Notes what it would have ended the process for."""

    stuck: str | None = None

    def _end_process(self, name: str, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self.stuck = name
        self._ended.set()


class Worker:
    """A counter that moves at every fifth look; before the third one the process is suspended for a while."""

    def __init__(self, looks: int) -> None:
        self.looks = 0
        self._most = looks
        self.watchdog: Noted

    def __call__(self) -> int:
        self.looks += 1
        if self.looks == 3:
            time.sleep(3 * _PATIENCE.total_seconds())
        if self.looks == self._most:
            self.watchdog._ended.set()
        return self.looks // 5


async def test_a_suspension_longer_than_its_patience_does_not_count() -> None:
    worker = Worker(looks=20)
    worker.watchdog = Noted({"worker": worker}, _PATIENCE, tick_seconds=0.01)
    await asyncio.to_thread(worker.watchdog._watch, asyncio.get_running_loop())
    assert (worker.watchdog.stuck, worker.looks) == (None, 20)


async def test_ticks_without_a_move_count() -> None:
    watchdog = Noted({"worker": lambda: 7}, _PATIENCE, tick_seconds=0.01)
    await asyncio.to_thread(watchdog._watch, asyncio.get_running_loop())
    assert watchdog.stuck == "worker"
