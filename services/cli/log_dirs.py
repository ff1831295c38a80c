"""What Kafka's brokers keep where, and how much room is left there, by their own account."""

from collections.abc import Iterator
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

_API_KEY = 35
_API_VERSION = 4  # the first that tells of room (Kafka 3.3, KIP-827)


class LogDir(NamedTuple):
    """A broker's folder: its file system's bytes, and those of each topic in it."""

    broker: int
    path: str
    size_bytes: int
    free_bytes: int
    topics: dict[str, int]


class _DescribeLogDirsResponse(Response):  # type: ignore[misc]  # the library has no types
    """Kafka's answer; the client library does not have it."""

    API_KEY = _API_KEY
    API_VERSION = _API_VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "results",
            CompactArray(
                ("error_code", Int16),
                ("log_dir", CompactString("utf-8")),
                (
                    "topics",
                    CompactArray(
                        ("name", CompactString("utf-8")),
                        (
                            "partitions",
                            CompactArray(
                                ("partition_index", Int32),
                                ("partition_size", Int64),
                                ("offset_lag", Int64),
                                ("is_future_key", Boolean),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("total_bytes", Int64),
                ("usable_bytes", Int64),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeLogDirsStruct(RequestStruct):  # type: ignore[misc]
    """Which topics are asked for; None: all."""

    FLEXIBLE_VERSION = True
    API_KEY = _API_KEY
    API_VERSION = _API_VERSION
    RESPONSE_TYPE = _DescribeLogDirsResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeLogDirs(Request[_DescribeLogDirsStruct]):  # type: ignore[misc]
    """The request, as the client library sends one."""

    API_KEY = _API_KEY

    def build(self, request_struct_class: type[_DescribeLogDirsStruct]) -> _DescribeLogDirsStruct:
        """Ask for everything."""
        return request_struct_class(None, {})


async def log_dirs(admin: AIOKafkaAdminClient) -> list[LogDir]:
    """The folders of every broker. Raises KafkaError."""
    await admin.list_topics()  # brokers that came or went since
    brokers = sorted(broker.nodeId for broker in admin._client.cluster.brokers())
    # A broker tells only of itself, and the library's public methods choose one.
    answers = [(broker, await admin._send_request_to_node(broker, _DescribeLogDirs())) for broker in brokers]
    return [each for broker, answer in answers for each in _folders(broker, answer)]


def _folders(broker: int, answer: Response) -> Iterator[LogDir]:
    said = answer.to_object()
    if said["error_code"]:
        raise for_code(said["error_code"])(f"broker {broker} does not tell of its folders")
    for folder in said["results"]:
        if folder["error_code"] == 0:  # one that is offline says nothing
            sizes = {
                topic["name"]: sum(partition["partition_size"] for partition in topic["partitions"])
                for topic in folder["topics"]
            }
            yield LogDir(broker, folder["log_dir"], folder["total_bytes"], folder["usable_bytes"], sizes)
