"""How far a long command is: a bar on a terminal, elsewhere a line every few seconds."""

import time
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

_LINE_SECONDS: Final = 5.0
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60))


class ProgressDisplay:
    """Shows progress between `with` and the end of its block."""

    def __init__(
        self, total: int, console: Console, clock: Callable[[], float] = time.monotonic, *, unit: str = "records"
    ) -> None:
        self._total = total
        self._unit = unit
        self._console = console
        self._clock = clock
        self._begun = self._told = clock()
        self._bar = Progress(
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(progress_line(0, total, 0, unit), total=total)

    def __enter__(self) -> "ProgressDisplay":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, done: int, note: str = "") -> None:
        """Tell how much is done, and what holds it up."""
        now = self._clock()
        line = progress_line(done, self._total, now - self._begun, self._unit) + (f"; {note}" if note else "")
        self._bar.update(self._task, completed=done, description=line)
        if not self._console.is_terminal and now - self._told >= _LINE_SECONDS:
            self._told = now
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def progress_line(done: int, total: int, seconds: float, unit: str = "records") -> str:
    """'3,000 of 12,000 records (25 %), 1,000/s, 9 s left': the rate since the start, and the rest at that rate."""
    line = f"{done:,} of {total:,} {unit} ({100 * done // total} %)"
    if done == 0 or seconds <= 0:
        return line
    return f"{line}, {rate(done / seconds)}, {duration((total - done) * seconds / done)} left"


def rate(per_second: float) -> str:
    """'1,000/s', '1.5/s', or '30/min' where it is that slow."""
    if per_second < 1:
        return f"{60 * per_second:.2g}/min"
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{per_second:.2g}/s"


def duration(seconds: float) -> str:
    """How long, in the unit a person would use."""
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
