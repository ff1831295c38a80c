"""A record as a decoder takes it, and the moment at which those of these tests were appended."""

from datetime import UTC, datetime
from typing import NamedTuple

from services.kernel.wire import Headers

APPENDED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Record(NamedTuple):
    """What decoding needs of a Kafka record."""

    value: bytes | None
    headers: Headers = ()
    timestamp: int = int(APPENDED.timestamp() * 1000)
