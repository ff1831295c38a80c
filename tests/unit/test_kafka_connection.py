"""A connection to Kafka that breaks while something is sent is a broken one, whatever the event loop calls it."""

import asyncio

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from services.kernel import kafka


async def _broken(host: str, port: int) -> AIOKafkaConnection:
    """A connection whose transport has closed, in the moment before its reader tells it."""
    connection = AIOKafkaConnection(host, port)
    connection._versions = {MetadataRequest([]).API_KEY: (0, 1)}
    connection._reader, connection._writer = await asyncio.open_connection(host, port)
    connection._read_task = asyncio.create_task(asyncio.sleep(60))
    connection._writer.transport.abort()
    await asyncio.sleep(0.2)
    return connection


@pytest.mark.timeout(20)
def test_a_request_that_meets_a_closed_transport_breaks_the_connection() -> None:
    async def send() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        try:
            host, port = server.sockets[0].getsockname()
            connection = await _broken(host, port)
            with pytest.raises(RuntimeError, match="the handler is closed"):  # what the library makes of it
                kafka._send(connection, MetadataRequest([]))
            with pytest.raises(KafkaConnectionError, match=f"the connection to {host}:{port} broke"):
                connection.send(MetadataRequest([]))
            assert connection._writer is None, "closed: the client makes another"
        finally:
            server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send())
