"""Kafka is killed and started again under fifty producers: what was answered 202 is there, the rest is known."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from services.embedded.kafka import KafkaServer
from services.embedded.ports import remembered_ports
from services.kernel.events import READINGS_TOPIC
from services.kernel.topics import ensure_topics
from tests.integration.pipeline import Pipeline, records_of, until
from tests.push.pushing import Ingest, Producer, known, new_producer, reading, running_ingest

PRODUCERS = 50
REQUESTS = 12
EVENTS = 20
ALL = PRODUCERS * REQUESTS * EVENTS
TIMEOUT_SECONDS = 4


@asynccontextmanager
async def own_kafka(pipeline: Pipeline, directory: Path) -> AsyncIterator[tuple[KafkaServer, Pipeline]]:
    """A Kafka that may be killed, with its topics, and a pipeline on it."""
    ports = remembered_ports(directory / "ports", ["kafka", "controller"])
    server = KafkaServer(directory, ports["kafka"], ports["controller"])
    server.prepare()
    server.start()
    try:
        await asyncio.to_thread(server.wait_ready)
        kafka = pipeline.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{server.port}"})
        await ensure_topics(kafka)
        yield server, Pipeline(pipeline.database, kafka, directory)
    finally:
        server.kill()


@dataclass
class Told:
    """What producers were told: nodes whose readings were accepted, answers by status, and those who go on."""

    accepted: set[str] = field(default_factory=set)
    answers: Counter[int] = field(default_factory=Counter)
    finished: int = 0

    async def half_way(self) -> bool:
        """Whether enough has been accepted to kill Kafka in the middle."""
        return len(self.accepted) >= ALL // 4

    async def an_error(self) -> bool:
        """Whether somebody was told to come again."""
        return self.answers[503] > 0


async def produce(number: int, producer: Producer, ingest: Ingest, told: Told) -> None:
    """Send some requests one after the other, each until it is accepted."""
    async with httpx.AsyncClient(base_url=ingest.url, headers=producer.headers, timeout=60) as client:
        for request in range(REQUESTS):
            first = (number * REQUESTS + request) * EVENTS
            events = [reading(node, producer.key.source) for node in range(first, first + EVENTS)]
            while True:
                answer = await client.post("/v1/readings", json=events)
                told.answers[answer.status_code] += 1
                if answer.status_code == 202:
                    assert answer.json()["accepted"] == EVENTS
                    told.accepted.update(str(event["identifier"]) for event in events)
                    break
                assert answer.status_code == 503, answer.text
                await asyncio.sleep(min(int(answer.headers["Retry-After"]), 0.5))
    told.finished += 1


async def test_every_event_that_was_answered_202_is_in_kafka_though_it_was_killed(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    async with own_kafka(pipeline, tmp_path) as (server, other):
        producers = [await new_producer(other.kafka, f"pool-{number}") for number in range(PRODUCERS)]
        with running_ingest(other, MINEGNK_PUSH_TIMEOUT=str(TIMEOUT_SECONDS)) as ingest:
            await known(ingest, producers[-1])
            told = Told()
            async with asyncio.timeout(180), asyncio.TaskGroup() as group:
                for number, producer in enumerate(producers):
                    group.create_task(produce(number, producer, ingest, told))
                await until(told.half_way, "some readings are accepted", 60)
                server.kill()
                await until(told.an_error, "a producer is told that Kafka is away", 60)
                server.start()
        there = {json.loads(record.value)["identifier"] for record in await records_of(other.kafka, READINGS_TOPIC)}
    assert told.finished == PRODUCERS
    assert len(told.accepted) == ALL
    assert told.accepted <= there
