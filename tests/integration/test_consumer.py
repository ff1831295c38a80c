"""The batch consumer on a real Kafka: what it commits, what it repeats, and what it never does."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from services.kernel.events import NodeReading
from services.kernel.halving import Applied
from services.kernel.settings import KafkaSettings
from tests.integration.pipeline import publish_unreadable, until
from tests.integration.streams import PARTITIONS, Handled, Observed, Stream, new_stream, running

pytestmark = pytest.mark.integration


@pytest.fixture
async def stream(kafka: KafkaSettings) -> AsyncIterator[Stream]:
    async with new_stream(kafka) as stream:
        yield stream


async def test_a_first_start_reads_from_the_beginning_and_commits_what_it_handled(stream: Stream) -> None:
    numbers = range(200)
    await stream.publish(numbers)
    handled = Handled()
    async with running(stream.consumer(handled)):
        await until(lambda: handled.has(numbers), "all handled")
    assert sorted(handled.numbers) == list(numbers)
    assert await stream.committed() == len(numbers)


async def test_a_stop_lets_the_batches_in_hand_finish_and_commits_them(stream: Stream) -> None:
    go_on = asyncio.Event()
    begun = 0
    first = Handled()

    async def handle(readings: Sequence[NodeReading]) -> Applied:
        nonlocal begun
        begun += 1
        await go_on.wait()
        return await first(readings)

    async def two_in_hand() -> bool:
        return begun == 2

    numbers = range(100)
    await stream.publish(numbers, partition=1)
    consumer = stream.consumer(handle)
    await consumer.start()
    await until(two_in_hand, "two batches in hand")
    stopping = asyncio.create_task(consumer.stop())
    await until(lambda: _is_set(consumer), "it stops")
    go_on.set()
    await stopping
    assert sorted(first.numbers) == list(range(20)), "two batches, no further one"
    assert await stream.committed() == 20

    second = Handled()
    async with running(stream.consumer(second)):
        await until(lambda: second.has(range(20, 100)), "the rest handled")
    assert sorted(second.numbers) == list(range(20, 100))


async def _is_set(consumer: Observed) -> bool:
    return bool(consumer.should_stop)


async def test_a_defect_stops_the_consumer_and_commits_nothing(stream: Stream) -> None:
    async def handle(_: Sequence[NodeReading]) -> Applied:
        raise KeyError("nobody foresaw this")

    await stream.publish(range(20))
    consumer = stream.consumer(handle)

    async def crashed() -> bool:
        return consumer.crashed

    async with running(consumer):
        await until(crashed, "the consumer crashed")
    assert isinstance(consumer.crash_reason, KeyError)
    assert await stream.committed() == 0
    assert await stream.dead_letters() == []


async def test_two_consumers_share_the_partitions_and_one_that_leaves_hands_over_without_loss(stream: Stream) -> None:
    handled = Handled()
    one, other = stream.consumer(handled), stream.consumer(handled)

    async def shared() -> bool:
        return len(one.owned) == len(other.owned) == PARTITIONS / 2 and one.owned.isdisjoint(other.owned)

    async with running(one, other):
        await until(shared, "each has half of the partitions")
        await stream.publish(range(300))
        await until(lambda: handled.has([0]), "some handled")
        await other.stop()
        await stream.publish(range(300, 600))
        await until(lambda: handled.has(range(600)), "all handled")
        await stream.until_committed(600)
    assert await stream.dead_letters() == []


async def test_a_batch_that_hits_a_time_limit_gets_through_in_parts(stream: Stream) -> None:
    applied = Handled()

    async def handle(readings: Sequence[NodeReading]) -> Applied:
        if len(readings) > 3:
            raise TimeoutError("statement_timeout")
        return await applied(readings)

    await stream.publish(range(40), partition=0)
    async with running(stream.consumer(handle, max_batch=40)):
        await until(lambda: applied.has(range(40)), "all applied")
    assert sorted(applied.numbers) == list(range(40))
    assert await stream.committed() == 40
    assert await stream.dead_letters() == []


async def test_a_record_that_the_client_cannot_read_is_a_dead_letter_and_the_others_are_handled(stream: Stream) -> None:
    await stream.publish(range(50), partition=0)
    await stream.publish(range(100, 130), partition=1)
    await publish_unreadable(stream.kafka, stream.topic, partition=1)
    await stream.publish(range(130, 150), partition=1)
    handled = Handled()
    wanted = [*range(50), *range(100, 150)]
    async with running(stream.consumer(handled, max_batch=64)):
        await until(lambda: handled.has(wanted), "all handled")
        await stream.publish(range(200, 240), partition=1)
        await until(lambda: handled.has(range(200, 240)), "it goes on")
    assert sorted(handled.numbers) == [*wanted, *range(200, 240)], "each once"
    assert await stream.committed() == 50 + 51 + 40
    (letter,) = await stream.dead_letters()
    headers = dict(letter.headers)
    assert (letter.value, headers["minegnk_dlq_offset"], headers["minegnk_dlq_value"]) == (None, b"30", b"omitted")
    assert headers["minegnk_dlq_reason"] == b"undecodable"


async def test_a_worker_that_lost_its_partitions_leaves_what_it_had_read_ahead(stream: Stream) -> None:
    """Two batches in hand and one waiting when the partitions go to another: none is committed by the first."""
    go_on = asyncio.Event()
    begun = 0
    slow, quick = Handled(), Handled()

    async def handle(readings: Sequence[NodeReading]) -> Applied:
        nonlocal begun
        begun += 1
        await go_on.wait()
        return await slow(readings)

    async def two_in_hand() -> bool:
        return begun == 2

    for partition in range(PARTITIONS):
        await stream.publish(range(partition * 100, partition * 100 + 100), partition=partition)
    first, second = stream.consumer(handle, max_batch=20), stream.consumer(quick)
    async with running(first):
        await until(two_in_hand, "two batches in hand")
        async with running(second):

            async def shared() -> bool:
                return len(first.owned) == len(second.owned) == PARTITIONS / 2

            await until(shared, "each has half of the partitions")
            offsets = {await stream.offset(partition) for partition in first.owned}
            assert offsets == {-1}, "nothing of what the first has in hand is committed"
            go_on.set()
            everything = range(PARTITIONS * 100)

            async def all_handled() -> bool:
                return set(slow.numbers) | set(quick.numbers) >= set(everything)

            await until(all_handled, "all handled")
            theirs = {number for number in everything if number // 100 in second.owned}
            in_hand = set(slow.numbers[:40])
            assert set(slow.numbers) - in_hand <= set(everything) - theirs, "what waited was left to the new owner"
            await stream.until_committed(PARTITIONS * 100)


async def test_the_next_batch_grows_while_the_one_before_is_handled(stream: Stream) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    sizes: list[int] = []

    async def handle(readings: Sequence[NodeReading]) -> Applied:
        sizes.append(len(readings))
        began.set()
        await go_on.wait()
        return Applied(len(readings))

    consumer = stream.consumer(handle)
    async with running(consumer):
        await stream.publish(range(3), partition=0)
        await asyncio.wait_for(began.wait(), 20)
        for number in range(3, 30):
            await stream.publish([number], partition=number % PARTITIONS)

        async def read_ahead() -> bool:
            return len(sizes) == 2 and consumer.polled() > sum(sizes) + 10

        await until(read_ahead, "as much is read ahead as fits into a batch, and no more than a poll beyond it")
        go_on.set()
        await stream.until_committed(30)
    assert sizes[0] == 3, "the first one is not waited for"
    assert sizes[1] >= 5, "a second one is begun beside it once it is large"
    assert sizes[2] >= 8, "the batch that waited took what came meanwhile, as far as it fits"
    assert sum(sizes) == 30


async def test_what_is_read_after_a_revocation_is_not_left_with_what_was_read_before_it(stream: Stream) -> None:
    """The partitions that a worker keeps are read again from the committed offsets, and once more is not lost."""
    began, go_on = asyncio.Event(), asyncio.Event()
    slow, quick = Handled(), Handled()

    async def handle(readings: Sequence[NodeReading]) -> Applied:
        began.set()
        await go_on.wait()
        return await slow(readings)

    for partition in range(PARTITIONS):
        await stream.publish([partition], partition=partition)
    first, second = stream.consumer(handle, max_batch=50), stream.consumer(quick)
    async with running(first):
        await asyncio.wait_for(began.wait(), 20)
        await stream.publish(range(10, 14))

        async def waiting() -> bool:
            return first.polled() == PARTITIONS + 4

        await until(waiting, "a batch waits behind the one in hand")
        async with running(second):

            async def shared() -> bool:
                return len(first.owned) == len(second.owned) == PARTITIONS / 2

            await until(shared, "each has half of the partitions")
            await stream.publish(range(20, 28))

            async def read_more() -> bool:
                return first.polled() > PARTITIONS + 4

            await until(read_more, "the first reads on while its batch is in hand")
            go_on.set()
            await stream.until_committed(PARTITIONS + 4 + 8)
    assert set(slow.numbers) | set(quick.numbers) == {*range(PARTITIONS), *range(10, 14), *range(20, 28)}
