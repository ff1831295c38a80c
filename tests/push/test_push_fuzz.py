"""Requests that were valid before something happened to them: no answer is 500, and nothing accepted is invalid."""

import gzip
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from random import Random, SystemRandom

import httpx
import pytest

from services.kernel.errors import InvalidRecordError
from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC, EarningsReport, NodeReading
from services.kernel.wire import decoder_for
from tests.fuzz.mutations import Mutant, mutants
from tests.fuzz.samples import SOURCES
from tests.integration.pipeline import Pipeline, records_of
from tests.push.pushing import Producer, known, new_producer, running_ingest

REQUESTS = int(os.environ.get("MINEGNK_PUSH_FUZZ_REQUESTS", "600"))
PATHS: dict[type, str] = {NodeReading: "/v1/readings", EarningsReport: "/v1/earnings"}
MEDIA_TYPES = (
    "application/json", "application/x-ndjson", "application/cloudevents+json", "application/cloudevents-batch+json",
    "application/JSON; charset=latin-1", "text/csv", "application/", "", "a" * 500, "application/json;boundary",
)  # fmt: skip
ENCODINGS = (b"gzip", b"gzip", b"GZIP", b"deflate", b"gzip, gzip", b"")


@dataclass(frozen=True)
class Request:
    """What is sent."""

    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


def requests(random: Random, now: datetime) -> Iterator[Request]:
    """Without end; the same for the same seed and moment."""
    several = {event_class: mutants(random, now, (event_class,)) for event_class in PATHS}
    while True:
        event_class = random.choice((NodeReading, NodeReading, EarningsReport))
        items = list(islice(several[event_class], random.choice((1, 1, 3, 40))))
        path = PATHS[event_class] if random.random() < 0.95 else random.choice(list(PATHS.values()))
        yield _request(random, path, items)


def _request(random: Random, path: str, items: list[Mutant]) -> Request:
    values = [item.value or b"" for item in items]
    media, body, headers = random.choice(MEDIA_TYPES[:4]), values[0], _context(items[0])
    if random.random() < 0.6:
        media, body, headers = random.choice(
            ((MEDIA_TYPES[0], b"[" + b",".join(values) + b"]", []), (MEDIA_TYPES[1], b"\n".join(values), []))
        )
    if random.random() < 0.1:
        media = random.choice(MEDIA_TYPES)
    headers.append((b"Content-Type", media.encode()))
    if random.random() < 0.2:
        headers.append((b"Content-Encoding", random.choice(ENCODINGS)))
        body = gzip.compress(body) if random.random() < 0.8 else body
    if random.random() < 0.05:
        body = body[: random.randrange(len(body) + 1)]
    return Request(path, headers, body)


def _context(item: Mutant) -> list[tuple[bytes, bytes]]:
    """The record's headers as HTTP can carry them."""
    return [
        (name.encode().replace(b"_", b"-", 1), value)
        for name, value in item.headers
        if value is not None and name.isascii() and name.isprintable() and name and b"\x00" not in value
        and name.lower().startswith("ce_") and value.strip() == value and value.isascii()
    ]  # fmt: skip


@pytest.fixture
async def producers(pipeline: Pipeline) -> list[Producer]:
    """One for each source that the mutated events name."""
    return [await new_producer(pipeline.kafka, source) for source in SOURCES]


async def test_no_request_is_answered_500_and_what_is_accepted_is_valid(
    pipeline: Pipeline, producers: list[Producer]
) -> None:
    seed = int(os.environ.get("SEED", SystemRandom().randrange(2**32)))
    random = Random(seed)
    accepted: Counter[str] = Counter()
    statuses: Counter[int] = Counter()
    with running_ingest(pipeline, MINEGNK_PUSH_RATE_LIMIT="0") as ingest:
        await known(ingest, producers[-1])
        async with httpx.AsyncClient(base_url=ingest.url, timeout=60) as client:
            for request in islice(requests(random, datetime.now(UTC)), REQUESTS):
                authorization = random.choice(producers).headers["Authorization"].encode()
                headers = [*request.headers, (b"Authorization", authorization)]
                answer = await client.post(request.path, headers=headers, content=request.body)
                statuses[answer.status_code] += 1
                assert answer.status_code in {202, 400, 403, 413, 415, 422}, f"seed {seed}: {request} {answer.text}"
                told = answer.json()
                if answer.status_code == 202:
                    accepted[request.path] += told["accepted"]
        assert ingest.worker.process.poll() is None
    for event_class, topic in ((NodeReading, READINGS_TOPIC), (EarningsReport, EARNINGS_TOPIC)):
        decode = decoder_for(event_class)
        records = await records_of(pipeline.kafka, topic)
        for record in records:
            try:
                decode(record)
            except InvalidRecordError as error:
                pytest.fail(f"seed {seed}: accepted, but {error}: {record.value!r}")
        assert len(records) == accepted[PATHS[event_class]], f"seed {seed}"
        assert records, f"seed {seed}: nothing valid was sent"
    assert statuses[422], "nothing invalid was sent"
