"""How connections to Kafka receive: what came is joined once, when all of a response is there.

The library reads by asyncio's StreamReader, which appends each piece to one array of bytes. That grows to the 12 MB
that a fetch may answer, is moved while it grows, copied when it is taken, and freed, which takes twice the processor's
time (docs/performance.md). There is no public switch for it.
"""

import asyncio
from collections import deque
from typing import Any

from aiokafka import conn

# A connection stops to receive when more than twice this waits to be taken. What a fetch answers, up to 4 MB a
# partition, is taken as a whole: at the library's 64 KB it was stopped and woken for every few hundred records.
_LIMIT_BYTES = 8 * 1024 * 1024


class Chunks:
    """Bytes in the pieces in which they came."""

    def __init__(self) -> None:
        self._chunks: deque[memoryview] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def extend(self, chunk: bytes) -> None:
        """Append a piece."""
        self._chunks.append(memoryview(chunk))
        self._size += len(chunk)

    def take(self, size: int) -> bytes:
        """The first so many bytes, of which there have to be enough."""
        taken, missing = [], size
        while missing:
            chunk = self._chunks.popleft()
            if len(chunk) > missing:
                self._chunks.appendleft(chunk[missing:])
                chunk = chunk[:missing]
            taken.append(chunk)
            missing -= len(chunk)
        self._size -= size
        return b"".join(taken)


class _Reader(asyncio.StreamReader):
    _buffer: Chunks

    async def readexactly(self, n: int) -> bytes:
        """The next n bytes, as the class above has it."""
        base: Any = self  # of which most is private
        if base._exception is not None:
            raise base._exception
        while len(self._buffer) < n:
            if base._eof:
                raise asyncio.IncompleteReadError(self._buffer.take(len(self._buffer)), n)
            await base._wait_for_data("readexactly")
        data = self._buffer.take(n)
        base._maybe_resume_transport()
        return data


class _Protocol(conn.AIOKafkaProtocol):  # type: ignore[misc]
    def __init__(self, closed: "asyncio.Future[None]", reader: Any, **arguments: Any) -> None:
        reader.__class__, reader._buffer = _Reader, Chunks()  # the library names the class of readers where it connects
        super().__init__(closed, reader, **arguments)


def join_once() -> None:
    """Let every connection that is made from now on receive so."""
    conn.READER_LIMIT = _LIMIT_BYTES
    conn.AIOKafkaProtocol = _Protocol
