"""Two ingest processes: each source is polled by exactly one of them, and a killed one's sources by the other."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from services.kernel.events import READINGS_TOPIC, REFRESH_TOPIC
from services.kernel.topics import TOPICS, refresh_partition
from services.simulator.app import Simulator, running
from services.simulator.world import WorldSettings
from tests.integration.pipeline import Pipeline, records_of, until

pytestmark = pytest.mark.integration

POLLS = "/api/v1/inference/current"
PROCESSES = ("first", "second")
PARTITIONS = next(topic.partitions for topic in TOPICS if topic.name == REFRESH_TOPIC)


def one_source_a_partition() -> list[str]:
    """Names so chosen that every partition has a source: however two processes share them, both have sources."""
    names: dict[int, str] = {}
    number = 0
    while len(names) < PARTITIONS:
        names.setdefault(refresh_partition(f"tracker-{number}", PARTITIONS), f"tracker-{number}")
        number += 1
    return sorted(names.values())


SOURCES = one_source_a_partition()

Simulators = dict[str, dict[str, Simulator]]


@pytest.fixture
async def simulators() -> AsyncIterator[Simulators]:
    """For each process and source a simulator of its own: its requests tell who polls what."""
    async with AsyncExitStack() as stack:
        settings = WorldSettings(hosts=3, days=2, tracker_cadence_seconds=1)
        yield {
            process: {source: await stack.enter_async_context(running(settings)) for source in SOURCES}
            for process in PROCESSES
        }


def sources_file(path: Path, simulators: dict[str, Simulator]) -> str:
    path.write_text(
        "".join(
            f'[[sources]]\nname = "{name}"\nkind = "hyperfusion"\nbase_urls = ["{simulator.base_url}"]\n'
            "poll_interval = 1\nrequests_per_minute = 600\nallow_private = true\n"
            for name, simulator in simulators.items()
        )
    )
    return str(path)


def polls(simulators: Simulators, process: str) -> dict[str, int]:
    return {source: simulator.requests[POLLS] for source, simulator in simulators[process].items()}


class Since:
    """The sources that each process has polled since a moment."""

    def __init__(self, simulators: Simulators) -> None:
        self._simulators = simulators
        self._before = {process: polls(simulators, process) for process in PROCESSES}

    def polled(self, process: str, times: int = 1) -> set[str]:
        """The sources that it polled at least so often."""
        now = polls(self._simulators, process)
        return {source for source in SOURCES if now[source] - self._before[process][source] >= times}


async def shared_for_three_polls(simulators: Simulators) -> Since:
    """Wait until every source has been polled thrice since some moment, and by one process only."""
    since = Since(simulators)

    async def settled() -> bool:
        nonlocal since
        first, second = (since.polled(process) for process in PROCESSES)
        if first & second:
            since = Since(simulators)  # partitions were still moving
            return False
        thrice = [since.polled(process, 3) for process in PROCESSES]
        return all(thrice) and thrice[0] | thrice[1] == set(SOURCES)

    await until(settled, "each source polled by one process", 30)
    return since


async def sources_in_kafka(pipeline: Pipeline) -> dict[str, int]:
    """The readings of each source in Kafka."""
    counts = dict.fromkeys(SOURCES, 0)
    for record in await records_of(pipeline.kafka, READINGS_TOPIC):
        counts[msgspec.json.decode(record.value)["source"]] += 1
    return counts


@pytest.mark.timeout(90)
async def test_two_processes_poll_each_source_once_and_one_takes_over_from_a_killed_one(
    pipeline: Pipeline, simulators: Simulators, tmp_path: Path
) -> None:
    first, second = (
        pipeline.start("ingest", MINEGNK_SOURCES_FILE=sources_file(tmp_path / f"{process}.toml", simulators[process]))
        for process in PROCESSES
    )
    since = await shared_for_three_polls(simulators)
    taken_over = since.polled("first")
    assert taken_over, f"the first has no source: {first}"
    assert since.polled("second") == set(SOURCES) - taken_over
    before = await sources_in_kafka(pipeline)
    assert all(before.values())

    first.kill()
    after_kill = Since(simulators)

    async def all_polled_by_second() -> bool:
        assert second.process.poll() is None, str(second)
        return after_kill.polled("second", 2) == set(SOURCES)

    await until(all_polled_by_second, "the second polls every source", 40)

    async def all_have_more_rows() -> bool:
        now = await sources_in_kafka(pipeline)
        return all(now[source] > before[source] for source in SOURCES)

    await until(all_have_more_rows, "new readings of every source")
