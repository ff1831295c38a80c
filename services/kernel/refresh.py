"""Asking ingest for polls and epochs: whoever does it, at the partition where the source's poller listens."""

from collections.abc import Iterable
from datetime import UTC, datetime

from services.kernel.events import RefreshRequest
from services.kernel.publisher import KafkaPublisher
from services.kernel.topics import refresh_partition
from services.kernel.wire import encode


async def ask_for_epochs(
    publisher: KafkaPublisher,
    source: str,
    epochs: Iterable[int],
    *,
    requested_by: str,
    refresh_partitions: int | None = None,
) -> None:
    """Ask for the source's settlements of these epochs; returns once Kafka has the requests, raises KafkaError.

    `refresh_partitions` is how many partitions node.refresh.v1 has, where that may differ from TOPICS.
    """
    now = datetime.now(UTC)
    requests = [
        RefreshRequest(source=source, requested_at=now, requested_by=requested_by, epoch=epoch) for epoch in epochs
    ]
    await publisher.send(map(encode, requests), partition=refresh_partition(source, refresh_partitions))


async def ask_for_poll(
    publisher: KafkaPublisher, source: str, *, requested_by: str, refresh_partitions: int | None = None
) -> None:
    """Ask for a poll of the source now; returns once Kafka has the request, raises KafkaError."""
    request = RefreshRequest(source=source, requested_at=datetime.now(UTC), requested_by=requested_by)
    await publisher.send([encode(request)], partition=refresh_partition(source, refresh_partitions))
