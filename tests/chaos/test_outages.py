"""Outages one at a time, on real processes: what a worker does meanwhile, and that nothing is missing afterwards."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import asyncpg
import pytest

from services.kernel.database import connect_arguments
from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC
from services.kernel.topics import dead_letter_topic
from tests.chaos.accounting import account
from tests.chaos.cluster import Cluster, Running
from tests.chaos.load import Sent, load
from tests.chaos.observer import OffsetReader
from tests.chaos.proxy import BOTH, Weather
from tests.chaos.run import sources_known
from tests.chaos.schedule import MAX_POLL_INTERVAL_SECONDS
from tests.integration.pipeline import records_of, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

EVENTS = 1500


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path, Random(1)) as cluster:
        yield cluster
        assert cluster.failures == []


@pytest.fixture
def records() -> list[Sent]:
    return [each for each in load(Random(1), EVENTS, datetime.now(UTC)) if each.reason is None]


async def started(cluster: Cluster, *services: str) -> list[Running]:
    running = [cluster.start(service) for service in services]
    if len(cluster.workers) == len(running):
        await sources_known(cluster)
    for each in running:
        await cluster.ready(each)
    return running


async def publish(cluster: Cluster, records: Sequence[Sent]) -> None:
    await cluster.direct.send(each.record for each in records)


async def drained(cluster: Cluster, seconds: float = 40) -> None:
    async with OffsetReader(cluster.direct.kafka) as reader:

        async def without_lag() -> bool:
            return (await reader.read()).lag == 0

        await until(without_lag, "no lag", seconds)


async def everything_is_applied(cluster: Cluster, records: Sequence[Sent]) -> None:
    accounts = await account(cluster.direct, records)
    assert accounts.balanced, str(accounts)
    assert accounts.letters == 0


@asynccontextmanager
async def gate(cluster: Cluster) -> AsyncIterator[None]:
    """Nobody gets at the table of nodes before the end of the block; use `waiting` inside it."""
    connection = await asyncpg.connect(**connect_arguments(cluster.direct.database))
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE nodes IN ACCESS EXCLUSIVE MODE")
            yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        pass  # PostgreSQL was killed meanwhile, and the lock with it
    finally:
        connection.terminate()


async def waiting(cluster: Cluster, *services: str) -> None:
    """Return when a worker of each service has a batch in hand and waits at the gate."""

    async def at_the_gate() -> bool:
        rows = await cluster.direct.rows("SELECT application_name FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return {name for (name,) in rows} >= {f"minegnk.{service}" for service in services}

    await until(at_the_gate, "batches in hand")


def says(running: Running, event: str) -> list[dict[str, object]]:
    return list(running.says(event))


async def test_a_database_away_for_twice_max_poll_interval_costs_time_and_nothing_else(
    cluster: Cluster, records: list[Sent]
) -> None:
    workers = await started(cluster, "cache", "earnings")
    half = len(records) // 2
    await publish(cluster, records[:half])
    await drained(cluster)
    revoked = [len(says(worker, "partitions_revoked")) for worker in workers]

    await cluster.kill_server("postgres")
    began = time.monotonic()
    lags = []
    async with OffsetReader(cluster.direct.kafka) as reader:
        for part in (records[half::2], records[half + 1 :: 2]):
            await publish(cluster, part)
            lags.append((await reader.read()).lag)

        async def long_enough() -> bool:
            assert (await reader.read()).lag == len(records) - half, "nothing is committed meanwhile"
            assert all(worker.alive for worker in workers)
            return time.monotonic() - began > 2 * MAX_POLL_INTERVAL_SECONDS + 1

        await until(long_enough, "the outage", 60)
    assert 0 < lags[0] < lags[1], "lag grows"
    await cluster.start_server("postgres")
    await drained(cluster)

    assert [len(says(worker, "partitions_revoked")) for worker in workers] == revoked, "no rebalance"
    assert cluster.workers == workers, "nobody had to be started again"
    for topic in (READINGS_TOPIC, EARNINGS_TOPIC):
        assert await records_of(cluster.direct.kafka, dead_letter_topic(topic)) == []
    await cluster.stop_workers()
    await everything_is_applied(cluster, records)


@pytest.mark.parametrize("how", ["killed", "silent"])
@pytest.mark.parametrize("server", ["postgres", "kafka"])
async def test_sigterm_with_a_batch_in_hand_ends_in_time_and_loses_nothing_while_a_server_is_away(
    cluster: Cluster, records: list[Sent], server: str, how: str
) -> None:
    workers = await started(cluster, "cache", "earnings")
    async with gate(cluster):
        await publish(cluster, records)
        await waiting(cluster, "cache", "earnings")
        if how == "killed":
            await cluster.kill_server(server)
        else:
            cluster.proxies[server].change(Weather(swallow=BOTH))
    await asyncio.gather(*(cluster.terminate(worker) for worker in workers))
    assert cluster.failures == []
    if how == "killed":
        await cluster.start_server(server)
    else:
        cluster.proxies[server].heal()
    await started(cluster, "cache", "earnings")
    await drained(cluster)
    await cluster.stop_workers()
    await everything_is_applied(cluster, records)


async def test_a_zombie_leaves_its_batch_uncommitted_and_goes_on(cluster: Cluster, records: list[Sent]) -> None:
    (zombie, earnings) = await started(cluster, "cache", "earnings")
    third = len(records) // 3
    async with gate(cluster):
        await publish(cluster, records[:third])
        await waiting(cluster, "cache")
        cluster.freeze(zombie)
    (successor,) = await started(cluster, "cache")
    assert len(successor.partitions) == 12, "the session of the frozen one is over"
    await publish(cluster, records[third : 2 * third])
    await drained(cluster)

    left = len(says(zombie, "batch_left_uncommitted"))
    cluster.thaw(zombie)

    async def left_it() -> bool:
        return len(says(zombie, "batch_left_uncommitted")) > left

    await until(left_it, "the zombie leaves its batch")
    async with OffsetReader(cluster.direct.kafka) as reader:
        assert (await reader.read()).lag == 0, "it has not moved an offset back"

    cluster.kill(successor)
    await publish(cluster, records[2 * third :])
    await drained(cluster)
    assert zombie.alive
    assert earnings.alive
    await cluster.stop_workers()
    await everything_is_applied(cluster, records)
