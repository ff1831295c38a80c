"""An ingest that takes events over HTTP and polls nobody, and producers with keys."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import msgspec

from services.kernel.keys import PUSH_KEYS, new_secret, sha256
from services.kernel.publisher import KafkaPublisher
from services.kernel.push_keys import Kind, PushKey, write_keys
from services.kernel.settings import KafkaSettings
from tests.integration.pipeline import Pipeline, Worker, free_port, until
from tests.waiting import wait_until

_START_SECONDS = 60


@dataclass(frozen=True)
class Ingest:
    """A running ingest process."""

    worker: Worker
    port: int

    @property
    def url(self) -> str:
        """Where events are pushed to."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Producer:
    """A key, and the text its holder sends."""

    key: PushKey
    text: str

    @property
    def headers(self) -> dict[str, str]:
        """What a request needs."""
        return {"Authorization": f"Bearer {self.text}"}


@contextmanager
def running_ingest(pipeline: Pipeline, **environment: str) -> Iterator[Ingest]:
    """An ingest without trackers, for the length of the block."""
    sources = pipeline.logs / "no-sources.toml"
    sources.write_text("sources = []\n")
    port = free_port()
    worker = pipeline.start("ingest", MINEGNK_SOURCES_FILE=str(sources), MINEGNK_PUSH_PORT=str(port), **environment)
    ingest = Ingest(worker, port)
    wait_until(lambda: _answers(ingest), seconds=_START_SECONDS)
    try:
        yield ingest
    finally:
        pipeline.workers.remove(worker)
        worker.stop()


def _answers(ingest: Ingest) -> bool:
    """Whether it knows its keys: a request without one is then refused for it."""
    assert ingest.worker.process.poll() is None, str(ingest.worker)
    try:
        return httpx.post(f"{ingest.url}/v1/readings", content=b"").status_code == 401
    except httpx.TransportError:
        return False


async def new_producer(
    kafka: KafkaSettings, source: str, kinds: Sequence[Kind] = ("readings", "earnings"), **more: Any
) -> Producer:
    """A producer with a key of its own."""
    secret = new_secret()
    key = PushKey(
        id=uuid4(),
        name=f"test of {source}",
        source=source,
        kinds=tuple(kinds),
        secret_sha256=sha256(secret),
        created_at=datetime.now(UTC),
        **more,
    )
    await write(kafka, key)
    return Producer(key, PUSH_KEYS.text(key.id, secret))


async def write(kafka: KafkaSettings, key: PushKey) -> None:
    """Let the key hold as it is."""
    publisher = KafkaPublisher(kafka)
    async with publisher:
        await write_keys(publisher, [key])


async def revoke(kafka: KafkaSettings, producer: Producer) -> None:
    """End a producer's key."""
    await write(kafka, msgspec.structs.replace(producer.key, revoked_at=datetime.now(UTC)))


async def known(ingest: Ingest, producer: Producer) -> None:
    """Return when the ingest knows the producer's key."""
    await until(lambda: _holds(ingest, producer), "the key is known")


async def ended(ingest: Ingest, producer: Producer) -> None:
    """Return when the producer's key holds no more."""

    async def ends() -> bool:
        return not await _holds(ingest, producer)

    await until(ends, "the key has ended")


async def _holds(ingest: Ingest, producer: Producer) -> bool:
    async with httpx.AsyncClient(base_url=ingest.url, headers=producer.headers) as client:
        return (await client.post("/v1/readings", content=b"")).status_code != 401


def reading(node: int, source: str, **more: Any) -> dict[str, Any]:
    """A reading as a producer writes it."""
    return {
        "identifier": f"gonka1{node:038}",
        "identifier_type": "wallet",
        "source": source,
        "observed_at": (datetime.now(UTC) - timedelta(seconds=1)).isoformat(),
        "status": "healthy",
        "jobs_day": node % 1000,
        **more,
    }


def report(node: int, source: str, **more: Any) -> dict[str, Any]:
    """An earnings report as a producer writes it."""
    now = datetime.now(UTC)
    return {
        "identifier": f"gonka1{node:038}",
        "identifier_type": "wallet",
        "source": source,
        "kind": "epoch",
        "period": 100,
        "amount_ngonka": "1234567890123456789"[:12],
        "observed_at": (now - timedelta(seconds=1)).isoformat(),
        "settled_at": (now - timedelta(hours=1)).isoformat(),
        "final": True,
        **more,
    }
