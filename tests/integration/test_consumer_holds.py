"""Too many invalid records hold their partition, across restarts, until an operator speaks."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import httpx
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from services.kernel import holds
from services.kernel.events import READINGS_TOPIC, NodeReading
from services.kernel.halving import Applied
from services.kernel.settings import KafkaSettings
from services.kernel.topics import dead_letter_topic
from services.kernel.wire import OutgoingRecord
from tests.integration.pipeline import Pipeline, free_port, records_of, until
from tests.integration.streams import Handled, Observed, Stream, new_stream, numbers_of, running
from tests.integration.test_cli_commands import run

pytestmark = pytest.mark.integration

BAD, GOOD = 1, 2


@pytest.fixture
async def stream(kafka: KafkaSettings) -> AsyncIterator[Stream]:
    async with new_stream(kafka) as stream:
        yield stream


class Refusing:
    """Takes no dead letters."""

    async def send(self, records: Iterable[OutgoingRecord]) -> None:
        raise KafkaConnectionError("the broker is away")


async def held(consumer: Observed) -> bool:
    return bool(consumer.held)


async def letters(stream: Stream) -> list[int]:
    """The offsets of the dead letters' records."""
    return [int(dict(record.headers)["minegnk_dlq_offset"]) for record in await stream.dead_letters()]


async def test_a_partition_is_held_before_the_limit_is_passed_and_others_go_on(stream: Stream) -> None:
    await stream.publish(range(10), partition=BAD)
    await stream.publish_invalid(30, partition=BAD)
    await stream.publish(range(100, 110), partition=BAD)
    await stream.publish(range(200, 300), partition=GOOD)
    handled = Handled()
    consumer = stream.consumer(handled, invalid_limit=5)
    async with running(consumer):
        await until(lambda: handled.has([*range(10), *range(200, 300)]), "the good ones before it handled")
        await until(lambda: held(consumer), "the bad partition held")
        await stream.publish(range(300, 400), partition=GOOD)
        await until(lambda: handled.has(range(300, 400)), "the good partition goes on")
        assert consumer.held == {
            TopicPartition(stream.topic, BAD): holds.Hold(15, "undecodable", consumer.held[_tp(stream)].error)
        }

        async def measured() -> bool:
            lag = consumer.metric("minegnk_consumer_lag_records", BAD)
            return lag == 35 and consumer.metric("minegnk_consumer_held", BAD) == 1

        await until(measured, "lag and hold of a partition that stands still are measured")
    assert await letters(stream) == [10, 11, 12, 13, 14]
    assert await stream.offset(BAD) == 15


async def test_a_restart_changes_nothing_until_an_operator_lets_it_go_on(stream: Stream) -> None:
    await stream.publish_invalid(30, partition=BAD)
    await stream.publish(range(10), partition=BAD)
    for _ in range(3):
        consumer = stream.consumer(Handled(), invalid_limit=5)
        async with running(consumer):
            await until(lambda consumer=consumer: held(consumer), "held")  # type: ignore[misc]
        assert await letters(stream) == [0, 1, 2, 3, 4], "not one more"
        assert await stream.offset(BAD) == 5

    handled = Handled()
    consumer = stream.consumer(handled, invalid_limit=5)
    async with running(consumer):
        await until(lambda: held(consumer), "held")
        await holds.permit_go_on(stream.kafka, stream.group, {_tp(stream): 40})
        await until(lambda: handled.has(range(10)), "all handled")
        assert consumer.held == {}
        assert consumer.metric("minegnk_consumer_held", BAD) == 0
    assert await letters(stream) == list(range(30))
    assert await stream.offset(BAD) == 40


async def test_the_count_below_the_limit_survives_restarts_too(stream: Stream) -> None:
    for number in range(2):
        await stream.publish_invalid(2, partition=BAD)
        handled = Handled()
        await stream.publish([number], partition=BAD)
        async with running(stream.consumer(handled, invalid_limit=5)):
            await until(lambda number=number, handled=handled: handled.has([number]), "handled")  # type: ignore[misc]
    await stream.publish_invalid(2, partition=BAD)
    consumer = stream.consumer(Handled(), invalid_limit=5)
    async with running(consumer):
        await until(lambda: held(consumer), "the sixth holds")
    assert await letters(stream) == [0, 1, 3, 4, 6]
    assert await stream.offset(BAD) == 7


async def test_what_a_rebalance_takes_away_while_the_count_is_recalled_is_counted_by_whoever_reads_it_again(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stream.publish_invalid(4, partition=BAD)
    one = stream.consumer(Handled(), invalid_limit=5)
    other = stream.consumer(Handled(), dead_letters=Refusing())  # it joins, and commits nothing
    recall, recalled = holds.committed, 0

    async def recall_amid_a_rebalance(*arguments: Any) -> dict[TopicPartition, holds.Committed]:
        nonlocal recalled
        recalled += 1
        if recalled == 1:

            async def revoked() -> bool:
                return one.revocations > 0

            await other.start()
            await until(revoked, "a rebalance")
        return await recall(*arguments)

    monkeypatch.setattr(holds, "committed", recall_amid_a_rebalance)
    async with running(one):

        async def rebalanced() -> bool:
            return bool(one.revocations and other.owned)

        async def decided() -> bool:
            return bool(one.held) or await stream.offset(BAD) == 4

        await until(rebalanced, "rebalanced")
        await other.stop()
        await until(decided, "the partition is held, or all of it handled")
        assert one.held == {}
    assert await letters(stream) == [0, 1, 2, 3]


async def test_a_skip_passes_over_records_and_nothing_else(stream: Stream) -> None:
    await stream.publish_invalid(10, partition=BAD)
    await stream.publish(range(10, 20), partition=BAD)
    handled = Handled()
    consumer = stream.consumer(handled, invalid_limit=5)
    async with running(consumer):
        await until(lambda: held(consumer), "held")
        await holds.permit_skip(stream.kafka, stream.group, {_tp(stream): 13})
        await until(lambda: handled.has(range(13, 20)), "read on behind")

        async def committed() -> bool:
            return await stream.offset(BAD) == 20

        await until(committed, "committed")
    # What was read ahead of the hold may have been handled before: a merge, it does not matter.
    assert set(handled.numbers) >= set(range(13, 20))
    assert await letters(stream) == [0, 1, 2, 3, 4]


async def test_what_was_read_ahead_of_a_hold_is_not_committed_after_it_ends(stream: Stream) -> None:
    """With small batches, the next ones of the partition are decoded and wait when it is held."""
    await stream.publish_invalid(8, partition=BAD)
    await stream.publish(range(8, 50), partition=BAD)
    await stream.publish_invalid(1, partition=BAD)
    handled = Handled()
    consumer = stream.consumer(handled, max_batch=2, invalid_limit=5)
    async with running(consumer):
        await until(lambda: held(consumer), "held")
        await holds.permit_go_on(stream.kafka, stream.group, {_tp(stream): 8})

        async def all_committed() -> bool:
            return await stream.offset(BAD) == 51

        await until(all_committed, "all committed")
    assert await letters(stream) == [*range(8), 50]
    assert set(handled.numbers) == set(range(8, 50))


async def test_a_batch_that_is_tried_again_while_one_of_its_partitions_is_held_is_not_left(stream: Stream) -> None:
    """The records of its other partitions are read but once."""
    go_on = asyncio.Event()
    handled = Handled()
    begun: list[set[int]] = []

    async def handle(readings: Sequence[NodeReading]) -> Applied:
        numbers = set(numbers_of(readings))
        if numbers not in begun:
            begun.append(numbers)
        if numbers == {0}:
            await go_on.wait()
        elif not consumer.held:
            raise ConnectionError("the database is away")
        return await handled(readings)

    await stream.publish_invalid(3, partition=BAD)
    await stream.publish([0], partition=BAD)
    consumer = stream.consumer(handle, invalid_limit=2)

    async def in_hand() -> bool:
        return any(numbers & {10, 11, 12} for numbers in begun)

    async def first_in_hand() -> bool:
        return {0} in begun

    async with running(consumer):
        await until(first_in_hand, "the batch with the invalid records in hand")
        await stream.publish([1, 2, 3, 4], partition=BAD)
        await stream.publish([10, 11, 12, 13], partition=GOOD)
        await until(in_hand, "one of both partitions in hand")
        go_on.set()

        async def committed() -> bool:
            return await stream.offset(GOOD) == 4

        await until(committed, "the good partition committed")
        assert consumer.held
    assert handled.numbers.count(10) == 1
    assert await stream.offset(BAD) == 2


def _tp(stream: Stream) -> TopicPartition:
    return TopicPartition(stream.topic, BAD)


async def test_an_operator_sees_the_hold_and_ends_it(pipeline: Pipeline) -> None:
    bad = OutgoingRecord(READINGS_TOPIC, b"gonka1x", b'{"deployed": "badly"}', [])
    await pipeline.send([bad] * 20, partition=3)
    port = free_port()
    worker = pipeline.start("cache", MINEGNK_CONSUMER_INVALID_LIMIT="4", MINEGNK_METRICS_PORT=str(port))

    async def answer() -> tuple[int, str]:
        async with httpx.AsyncClient() as client:
            try:
                reply = await client.get(f"http://127.0.0.1:{port}/readyz")
            except httpx.HTTPError:
                return 0, ""
            return reply.status_code, reply.text

    async def unhealthy() -> bool:
        status, text = await answer()
        return status == 503 and "partition 3 is held at offset 4" in text

    async def healthy() -> bool:
        return (await answer())[0] == 200

    await until(unhealthy, "the worker says that it is held")
    listed = run(pipeline, "consumer", "list")
    assert listed.returncode == 0, listed.stderr
    assert "invalid_field" in listed.stdout
    assert READINGS_TOPIC in listed.stdout
    wrong = run(pipeline, "consumer", "resume", "--topic", READINGS_TOPIC, "--partition", "3", "--skip-until", "21")
    assert wrong.returncode == 2
    assert "not above 20" in wrong.stderr
    resumed = run(pipeline, "consumer", "resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "offset 20 go to the dead letters, from now on" in " ".join(resumed.stdout.split())
    await until(healthy, "the worker goes on")
    await pipeline.drained(READINGS_TOPIC)
    assert len(await records_of(pipeline.kafka, dead_letter_topic(READINGS_TOPIC))) == 20
    assert "No partition is held" in run(pipeline, "consumer", "list").stdout
    assert worker.stop() == 0
