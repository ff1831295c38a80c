"""The suite's own parts: a fault it does not make, or a loss it does not see, would prove nothing."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from services.embedded.ports import remembered_ports
from services.kernel.errors import Reason
from services.kernel.events import READINGS_TOPIC
from services.kernel.wire import OutgoingRecord
from tests.chaos.accounting import Accounts
from tests.chaos.load import NUMBER_HEADER, Sent, load
from tests.chaos.observer import Sample, recovery
from tests.chaos.proxy import BOTH, Proxy, Weather
from tests.chaos.schedule import FEWEST, MOST, SERVICES, Kind, schedule

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

# Schedules and load.


def test_a_seed_repeats_its_schedule_and_its_load() -> None:
    assert schedule(7, 66) == schedule(7, 66)
    assert schedule(7, 66) != schedule(8, 66)
    assert load(Random(7), 500, NOW) == load(Random(7), 500, NOW)


def test_twenty_schedules_have_every_kind_of_fault() -> None:
    kinds = Counter((fault.kind, fault.target) for seed in range(20) for fault in schedule(seed, 66).faults)
    assert {kind for kind, _ in kinds} == set(Kind)
    for kind in (Kind.CRASH, Kind.DELAY, Kind.CUT, Kind.HALF_OPEN):
        assert min(kinds[kind, "postgres"], kinds[kind, "kafka"]) >= 5
    assert kinds[Kind.AWAY, "postgres"] >= 5


@pytest.mark.parametrize("seed", range(20))
def test_a_service_always_has_two_or_three_workers(seed: int) -> None:
    plan = schedule(seed, 200)
    running = dict(plan.workers)
    for fault in plan.worker_faults:
        running[fault.target] += {Kind.JOIN: 1, Kind.LEAVE: -1}.get(fault.kind, 0)
        assert FEWEST <= running[fault.target] <= MOST
    assert set(running) == set(SERVICES)


def test_one_per_cent_of_the_load_is_odd_in_every_way_a_record_can_be() -> None:
    sent = load(Random(1), 20_000, NOW)
    reasons = Counter(each.reason for each in sent if each.reason)
    assert set(reasons) == set(Reason) - {Reason.REFUSED_BY_DATABASE}  # what decoding lets through fits its column
    assert 0.005 < reasons.total() / len(sent) < 0.015
    assert any(each.record.key is None and each.reason is None for each in sent)
    assert any(len(each.record.value or b"") > 1_000_000 for each in sent)


# Recovery.


def _sample(at: float, *committed: int) -> Sample:
    offsets = {TopicPartition("t", partition): offset for partition, offset in enumerate(committed)}
    return Sample(at, at + 0.1, offsets, dict.fromkeys(offsets, 100))


def test_recovery_is_over_when_the_last_partition_has_moved() -> None:
    samples = [_sample(0, 5, 5, 100), _sample(2, 9, 9, 100), _sample(4, 10, 9, 100), _sample(6, 10, 11, 100)]
    partitions = [TopicPartition("t", number) for number in range(3)]
    assert recovery(samples, 1.5, partitions) == pytest.approx(4.6)
    assert recovery(samples, 1.5, partitions[:1]) == pytest.approx(2.6)
    assert recovery(samples, 1.5, partitions[2:]) == 0, "it had nothing to do"
    assert recovery(samples, 4.5, partitions[:1]) is None, "it never moved again"


# Accounts.


def _sent(number: int, reason: Reason | None) -> Sent:
    record = OutgoingRecord(READINGS_TOPIC, b"k", b"v", [(NUMBER_HEADER, str(number).encode())])
    return Sent(number, record, None if reason else {}, reason)


def _record(offset: int, number: int) -> ConsumerRecord:
    return _consumer_record(READINGS_TOPIC, offset, [(NUMBER_HEADER, str(number).encode())])


def _letter(offset: int, reason: Reason) -> ConsumerRecord:
    added = {"topic": READINGS_TOPIC, "partition": "0", "offset": str(offset), "reason": reason, "error": "…"}
    return _consumer_record("dlq", 0, [(f"minegnk_dlq_{name}", text.encode()) for name, text in added.items()])


def _consumer_record(topic: str, offset: int, headers: list[tuple[str, bytes]]) -> ConsumerRecord:
    return ConsumerRecord(topic, 0, offset, 0, 1, b"k", b"v", None, 1, 1, headers)


def _judged(*letters: ConsumerRecord) -> Accounts:
    sent = {0: _sent(0, None), 1: _sent(1, Reason.UNDECODABLE)}
    accounts = Accounts()
    accounts.judge_letters(sent, [_record(0, 0), _record(1, 1), _record(2, 0)], letters)
    return accounts


def test_a_letter_with_its_reason_balances_and_repeats_are_counted() -> None:
    accounts = _judged(_letter(1, Reason.UNDECODABLE), _letter(1, Reason.UNDECODABLE))
    assert accounts.balanced
    assert (accounts.records, accounts.published_again, accounts.letters, accounts.letters_again) == (3, 1, 1, 1)


def test_a_missing_letter_a_wrong_reason_and_a_letter_of_a_good_record_are_seen() -> None:
    assert len(_judged().lost) == 1
    assert len(_judged(_letter(1, Reason.TOMBSTONE)).wrong) == 1
    assert len(_judged(_letter(1, Reason.UNDECODABLE), _letter(0, Reason.UNDECODABLE)).wrong) == 1


def test_a_record_that_was_never_published_is_lost() -> None:
    accounts = Accounts()
    accounts.judge_letters({0: _sent(0, None)}, [], [])
    assert len(accounts.lost) == 1


def test_rows_that_miss_exceed_or_differ_are_told_apart() -> None:
    def rows(*amounts: str | None) -> dict[date, tuple[Decimal, str]]:
        return {date(2026, 3, 1 + n): (Decimal(a), "chain") for n, a in enumerate(amounts) if a is not None}

    accounts = Accounts()
    accounts.judge_rows("history", rows("1", "2", "3", "4"), rows("1", "4", "2", None), amount=0)
    assert (len(accounts.lost), len(accounts.counted_twice), len(accounts.wrong)) == (2, 1, 0)
    accounts.judge_rows("history", {}, rows("1"))
    assert len(accounts.wrong) == 1
    accounts.judge_rows("cache", {"gonka1a": ("healthy",)}, {"gonka1a": ("jailed",)})
    assert len(accounts.lost) == 3, "another one's row stands where the winner's should"


# The proxy.


@asynccontextmanager
async def _proxied_echo(directory: pytest.TempPathFactory) -> AsyncIterator[Proxy]:
    ports = remembered_ports(directory.mktemp("ports") / "ports.json", ["echo", "proxy"])

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    proxy = Proxy(ports["proxy"], Random(1))
    proxy.target_port = ports["echo"]
    async with await asyncio.start_server(echo, "127.0.0.1", ports["echo"]):
        await proxy.start()
        try:
            yield proxy
        finally:
            await proxy.stop()


class _Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def of(cls, proxy: Proxy) -> "_Client":
        return cls(*await asyncio.open_connection("127.0.0.1", proxy.port))

    async def echoed(self, text: bytes) -> bytes:
        self.writer.write(text)
        async with asyncio.timeout(0.5):
            return await self.reader.read(100)


async def test_the_proxy_passes_and_delays(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with _proxied_echo(tmp_path_factory) as proxy:
        client = await _Client.of(proxy)
        assert await client.echoed(b"one") == b"one"
        proxy.change(Weather(latency_seconds=0.1))
        began = time.monotonic()
        assert await client.echoed(b"two") == b"two"
        assert time.monotonic() - began >= 0.2, "there and back"
        client.writer.close()
        assert await client.reader.read() == b""


async def test_the_proxy_resets_connections_and_refuses_new_ones(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with _proxied_echo(tmp_path_factory) as proxy:
        client = await _Client.of(proxy)
        assert await client.echoed(b"one") == b"one"
        proxy.change(Weather(cut=True))
        with pytest.raises(ConnectionResetError):
            await client.echoed(b"two")
        refused = await _Client.of(proxy)
        with pytest.raises(ConnectionResetError):
            await refused.echoed(b"three")
        proxy.heal()
        client = await _Client.of(proxy)
        assert await client.echoed(b"four") == b"four"


@pytest.mark.parametrize("reset", [True, False])
async def test_a_connection_that_lost_bytes_stays_silent_until_it_is_reset(
    tmp_path_factory: pytest.TempPathFactory, reset: bool
) -> None:
    async with _proxied_echo(tmp_path_factory) as proxy:
        client, idle = await _Client.of(proxy), await _Client.of(proxy)
        assert await client.echoed(b"one") == b"one"
        proxy.change(Weather(swallow=BOTH))
        with pytest.raises(TimeoutError):
            await client.echoed(b"two")
        proxy.heal(reset_dead=reset)
        with pytest.raises(ConnectionResetError if reset else TimeoutError):
            await client.echoed(b"three")
        assert await idle.echoed(b"four") == b"four", "it has lost nothing"
