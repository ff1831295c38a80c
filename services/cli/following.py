"""Following a file or a pipe that grows, line by line."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final

_MOST_LINES: Final = 1000
_LOOK_SECONDS: Final = 0.2
_CHUNK: Final = 65_536

Line = tuple[int, bytes]
"""Its number, from 1, and its text."""


async def grown_lines(path: Path | None) -> AsyncGenerator[list[Line], None]:
    """Lines as soon as they come: of a file without end, of standard input (None) to its end. Raises OSError.

    A file that is replaced or begins anew under its name is read from its beginning, as `tail -F` does; one that
    was cut and has grown beyond its old length within a fifth of a second is not noticed to have begun anew. At most a
    thousand lines wait to be taken: beyond that, reading waits.
    """
    # Unbuffered: a thread that waits for input holds no lock that the end of the process needs.
    file = FileIO(sys.stdin.fileno(), closefd=False) if path is None else FileIO(str(path))
    ready: asyncio.Queue[Line | None] = asyncio.Queue(_MOST_LINES)
    loop = asyncio.get_running_loop()
    stop = threading.Event()

    def put(line: Line | None) -> None:
        asyncio.run_coroutine_threadsafe(ready.put(line), loop).result()

    threading.Thread(target=_read, args=(file, path, put, stop), daemon=True).start()
    try:
        while (line := await ready.get()) is not None:
            lines = [line]
            while not ready.empty() and len(lines) < _MOST_LINES:
                if (line := ready.get_nowait()) is None:
                    yield lines
                    return
                lines.append(line)
            yield lines
    finally:
        stop.set()


def _read(file: FileIO, path: Path | None, put: Callable[[Line | None], None], stop: threading.Event) -> None:
    number, rest = 0, b""
    with suppress(RuntimeError):  # the loop has ended: nobody listens any more
        while not stop.is_set():
            if piece := file.read(_CHUNK):
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    number += 1
                    put((number, line))
            elif path is None:
                break
            elif _began_anew(file, path):
                if rest:
                    put((number + 1, rest))
                file.close()
                file, number, rest = FileIO(str(path)), 0, b""
            else:
                stop.wait(_LOOK_SECONDS)
        if rest:
            put((number + 1, rest))
        put(None)


def _began_anew(file: FileIO, path: Path) -> bool:
    try:
        there, ours = path.stat(), os.fstat(file.fileno())
    except FileNotFoundError:
        return False  # it is being replaced
    return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino) or there.st_size < file.tell()
