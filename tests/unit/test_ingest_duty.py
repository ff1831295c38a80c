"""Which instance polls which source."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from zlib import crc32

import pytest

from services.ingest.duty import Duty, owned
from services.ingest.sources import Source
from services.kernel.events import RefreshRequest
from services.kernel.topics import refresh_partition
from tests.unit.ingest_fakes import START, a_source, settle

SOURCES = [a_source(name=name) for name in ("hyperfusion", "gonka_api", "gonkascan", "another")]
TOTAL = 12


class CountingPoller:
    """Notes when it runs; `fail` ends it."""

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.requests: list[RefreshRequest] = []
        self.stopped = False
        self.fail = asyncio.Event()

    async def run(self) -> None:
        try:
            await self.fail.wait()
            raise ConnectionError(self.name)
        finally:
            self.stopped = True

    def request(self, request: RefreshRequest) -> bool:
        self.requests.append(request)
        return True


@asynccontextmanager
async def duty_with_pollers() -> AsyncIterator[tuple[Duty, list[CountingPoller], "asyncio.Task[None]"]]:
    made: list[CountingPoller] = []

    def make(source: Source) -> CountingPoller:
        made.append(CountingPoller(source))
        return made[-1]

    duty = Duty(SOURCES, make)
    task = asyncio.create_task(duty.run())
    try:
        yield duty, made, task
    finally:
        await settle()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert all(poller.stopped for poller in made)


def partition(name: str) -> int:
    return refresh_partition(name, TOTAL)


def test_a_source_lives_in_the_partition_of_its_names_checksum() -> None:
    assert refresh_partition("hyperfusion", TOTAL) == crc32(b"hyperfusion") % TOTAL


@pytest.mark.parametrize("total", [1, 3, 12])
def test_every_source_has_exactly_one_owner(total: int) -> None:
    shares = [owned(SOURCES, {number}, total) for number in range(total)]
    assert sorted(source.name for share in shares for source in share) == sorted(source.name for source in SOURCES)


def test_who_holds_no_partition_owns_nothing() -> None:
    assert owned(SOURCES, set(), 0) == ()


async def test_sources_follow_their_partitions() -> None:
    async with duty_with_pollers() as (duty, made, _):
        await duty.assign(range(TOTAL), TOTAL)
        await settle()
        assert duty.polled == {source.name for source in SOURCES}
        await duty.assign({partition("gonka_api")}, TOTAL)
        await settle()
        assert "gonka_api" in duty.polled
        assert {poller.name for poller in made if not poller.stopped} == duty.polled


async def test_a_source_that_stays_is_not_started_again() -> None:
    async with duty_with_pollers() as (duty, made, _):
        await duty.assign(range(TOTAL), TOTAL)
        await duty.assign(range(TOTAL), TOTAL)
        assert len(made) == len(SOURCES)


async def test_a_source_that_comes_back_starts_from_nothing() -> None:
    async with duty_with_pollers() as (duty, made, _):
        for partitions in (range(TOTAL), (), range(TOTAL)):
            await duty.assign(partitions, TOTAL)
            await settle()
        assert len(made) == 2 * len(SOURCES)


async def test_a_request_reaches_the_poller_of_its_source() -> None:
    request = RefreshRequest(source="gonkascan", requested_at=START, requested_by="test")
    async with duty_with_pollers() as (duty, made, _):
        assert not duty.request(request)
        await duty.assign(range(TOTAL), TOTAL)
        assert duty.request(request)
        assert [poller.name for poller in made if poller.requests] == ["gonkascan"]


async def test_a_poller_that_fails_ends_the_duty_and_every_other_poller() -> None:
    async with duty_with_pollers() as (duty, made, task):
        await duty.assign(range(TOTAL), TOTAL)
        made[0].fail.set()
        with pytest.raises(ConnectionError, match=made[0].name):
            await task
        assert duty.polled == frozenset()


async def test_a_revocation_does_not_end_the_duty() -> None:
    async with duty_with_pollers() as (duty, _, task):
        await duty.assign(range(TOTAL), TOTAL)
        await settle()
        await duty.assign((), TOTAL)
        await settle()
        assert not task.done()
