"""What a connection to Kafka receives comes out as it was sent, however it was cut, and not without end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from aiokafka import conn
from aiokafka.conn import AIOKafkaConnection
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.receiving import Chunks, join_once

join_once()

Serve = Callable[[asyncio.StreamWriter], Awaitable[None]]


@given(st.lists(st.binary(min_size=1, max_size=9)), st.lists(st.integers(1, 20)))
def test_pieces_come_out_in_order_whatever_is_taken_at_a_time(pieces: list[bytes], sizes: list[int]) -> None:
    chunks, sent, taken = Chunks(), b"".join(pieces), b""
    for piece in pieces:
        chunks.extend(piece)
    for size in sizes:
        if size <= len(chunks):
            taken += chunks.take(size)
    assert taken + chunks.take(len(chunks)) == sent
    assert not chunks


@contextlib.asynccontextmanager
async def connected(serve: Serve) -> AsyncIterator[asyncio.StreamReader]:
    """What the library reads from, connected as it connects."""

    ended = asyncio.Event()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await serve(writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    connection = _Connection(*server.sockets[0].getsockname())
    try:
        reader, _ = await connection.connect()
        yield reader
    finally:
        await connection.close()
        await ended.wait()
        server.close()


class _Connection(AIOKafkaConnection):  # type: ignore[misc]
    """That asks for no versions, and leaves reading to the test."""

    async def _do_version_lookup(self) -> None:
        pass

    def _create_reader_task(self) -> "asyncio.Task[None]":
        return asyncio.create_task(asyncio.sleep(0))


def sending(*pieces: bytes) -> Serve:
    async def serve(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    return serve


@pytest.mark.parametrize("pieces", [[b"abcdef"], [b"a", b"bcd", b"ef"], [b"abc", b"def"]])
async def test_a_response_is_read_whole_however_it_arrives(pieces: Sequence[bytes]) -> None:
    async with connected(sending(*pieces)) as reader:
        assert await reader.readexactly(2) == b"ab"
        assert await reader.readexactly(4) == b"cdef"


async def test_a_connection_that_ends_amid_a_response_says_what_there_was() -> None:
    async with connected(sending(b"abc")) as reader:
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await reader.readexactly(4)
        assert (caught.value.partial, caught.value.expected) == (b"abc", 4)


async def test_what_nobody_takes_is_not_received_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conn, "READER_LIMIT", 1_000)
    body = bytes(range(256)) * 40_000
    async with connected(sending(body)) as reader:
        await asyncio.sleep(0.3)
        waiting = len(reader._buffer)  # type: ignore[attr-defined]
        assert 0 < waiting < len(body) / 2, "the connection was told to wait"
        assert await reader.readexactly(len(body)) == body
