"""A TCP proxy that does to connections what networks do: delays them, cuts them, lets them die silently."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

_CHUNK_BYTES = 256 * 1024
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, zero seconds


class Direction(StrEnum):
    """Which way bytes travel."""

    TO_SERVER = "to_server"
    TO_CLIENT = "to_client"


BOTH = frozenset(Direction)


@dataclass(frozen=True)
class Weather:
    """What connections meet. `swallow`: bytes in these directions vanish, and no end of a connection is told."""

    latency_seconds: float = 0.0
    jitter_seconds: float = 0.0
    cut: bool = False
    swallow: frozenset[Direction] = frozenset()


FAIR = Weather()


@dataclass(eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    dead: set[Direction] = field(default_factory=set)  # bytes are missing in these: nothing may follow them

    def reset(self) -> None:
        """End both sides with a RST."""
        _reset(self.client)
        _reset(self.server)


class Proxy:
    """Listens on a port of 127.0.0.1 and passes connections on to another one, as the weather allows.

    Set `target_port` before the first connection comes; `weather` may be changed by `change` and `heal` at any time.
    """

    def __init__(self, port: int, chance: Random) -> None:
        self.port = port
        self.target_port = 0
        self.weather = FAIR
        self._chance = chance
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=_CHUNK_BYTES)

    async def stop(self) -> None:
        """Reset every connection and listen no more."""
        if self._server is not None:
            self._server.close()
        self.cut_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def change(self, weather: Weather) -> None:
        """From now on, for the connections there are and for new ones. One that cuts, cuts them all."""
        self.weather = weather
        if weather.cut:
            self.cut_all()
        self._changed.set()
        self._changed = asyncio.Event()

    def heal(self, *, reset_dead: bool = True) -> None:
        """Fair weather. Connections that have lost bytes are reset, or stay silent until a side gives up."""
        self.change(FAIR)
        if reset_dead:
            for connection in list(self._connections):
                if connection.dead:
                    connection.reset()

    def cut_all(self) -> None:
        """Reset every connection there is."""
        for connection in list(self._connections):
            connection.reset()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name=f"proxy {self.port}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.weather.cut:
            _reset(writer)
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(
                "127.0.0.1", self.target_port, limit=_CHUNK_BYTES
            )
        except OSError:
            _reset(writer)
            return
        connection = _Connection(writer, server_writer)
        self._connections.add(connection)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(connection, Direction.TO_SERVER, reader, server_writer))
                pumps.create_task(self._pump(connection, Direction.TO_CLIENT, server_reader, writer))
        finally:
            self._connections.discard(connection)
            connection.reset()

    async def _pump(
        self,
        connection: _Connection,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Pass bytes on until a side ends; then, once the weather lets it be told, the other side ends too."""
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if self.weather.latency_seconds or self.weather.jitter_seconds:
                    jitter = self.weather.jitter_seconds * self._chance.random()
                    await asyncio.sleep(self.weather.latency_seconds + jitter)
                if direction in self.weather.swallow:
                    connection.dead.add(direction)
                if direction not in connection.dead:
                    writer.write(data)
                    await writer.drain()
        await self._while(lambda: bool(self.weather.swallow))
        writer.close()

    async def _while(self, condition: Callable[[], bool]) -> None:
        while condition():
            await self._changed.wait()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and not writer.transport.is_closing():
        with suppress(OSError):  # it has ended meanwhile
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    writer.transport.abort()
