"""An ingest that takes events over HTTP, for each module."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.integration.conftest import kafka, new_database, pipeline
from tests.integration.pipeline import Pipeline
from tests.push.pushing import Ingest, Producer, known, new_producer, running_ingest

__all__ = ["kafka", "new_database", "pipeline"]


@pytest.fixture(scope="module")
def ingest(pipeline: Pipeline) -> Iterator[Ingest]:
    """An ingest with small limits."""
    limits = {
        "MINEGNK_PUSH_BODY_LIMIT": "200000",
        "MINEGNK_PUSH_ITEM_LIMIT": "500",
        "MINEGNK_PUSH_RATE_LIMIT": "2000",
        "MINEGNK_PUSH_TIMEOUT": "3",
    }
    with running_ingest(pipeline, **limits) as ingest:
        yield ingest


@pytest.fixture
async def producer(pipeline: Pipeline, ingest: Ingest) -> Producer:
    """A producer whose key the ingest knows."""
    producer = await new_producer(pipeline.kafka, "pool-a")
    await known(ingest, producer)
    return producer


@pytest.fixture
async def client(ingest: Ingest, producer: Producer) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the producer's key."""
    async with httpx.AsyncClient(base_url=ingest.url, headers=producer.headers, timeout=30) as client:
        yield client
