"""The watchdog: a process that is stuck says where, and ends, so that its supervisor starts another."""

import asyncio
import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import structlog
from mode import Service

STUCK_EXIT_CODE = 75
"""The exit code of a process that the watchdog ended (sysexits.h EX_TEMPFAIL: try again)."""

_TICK_SECONDS = 1.0


class Watchdog(Service):
    """Watches counters that must keep moving (name → its present value), from a thread of its own.

    A thread, because a blocked event loop is one of the ways to be stuck. It counts its own ticks rather than the
    clock: a process that was suspended for an hour was not stuck for an hour.
    """

    def __init__(
        self,
        watched: Mapping[str, Callable[[], int]],
        stuck_after: timedelta,
        *,
        tick_seconds: float = _TICK_SECONDS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._watched = watched
        self._ticks = max(1, round(stuck_after.total_seconds() / tick_seconds))
        self._tick_seconds = tick_seconds
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    async def on_start(self) -> None:
        """Begin to watch."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._watch, args=(loop,), name="watchdog", daemon=True)
        self._thread.start()

    async def on_stop(self) -> None:
        """Stop watching."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        seen = {name: counter() for name, counter in self._watched.items()}
        still = dict.fromkeys(seen, 0)  # ticks without a move
        while not self._ended.wait(self._tick_seconds):
            for name, counter in self._watched.items():
                value = counter()
                still[name] = 0 if value != seen[name] else still[name] + 1
                seen[name] = value
                if still[name] >= self._ticks:
                    self._end_process(name, still[name] * self._tick_seconds, loop)

    def _end_process(self, name: str, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        structlog.get_logger(__name__).critical(
            "stuck", stuck=name, seconds=round(seconds), exit_code=STUCK_EXIT_CODE, action="every stack follows"
        )
        try:
            for task in asyncio.all_tasks(loop):
                sys.stderr.write(f"Task {task.get_name()}:\n" + "".join(_stack(task)))
        except RuntimeError as error:  # the set of tasks changed: the loop is alive, and the threads' stacks remain
            sys.stderr.write(f"tasks cannot be listed: {error}\n")
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        sys.stderr.flush()
        os._exit(STUCK_EXIT_CODE)  # whatever hangs would hang an orderly end too


def _stack(task: "asyncio.Task[Any]") -> Iterator[str]:
    """Where each coroutine that the task awaits stands, outermost first (a task's own stack shows only that one)."""
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None:
            yield f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}\n'
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
