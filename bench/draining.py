"""A consumer's process while it drains a topic: how fast, with how much of the machine."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from services.kernel.settings import KafkaSettings
from services.kernel.topics import TOPICS
from tests.integration.pipeline import REPOSITORY, Pipeline

_LOOK_SECONDS = 0.03
_COUNTED = 0.8  # of a topic: what follows may be in hand when the clock stops, as much as it was when it started
_LIMIT_SECONDS = 900.0
_STOP_SECONDS = 20.0
_GROUP_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Drained:
    """One run.

    `cpu_seconds` are the consumer's own, `server_cpu_seconds` PostgreSQL's, `wal_bytes` is what that logged meanwhile.
    """

    records: int
    seconds: float
    cpu_seconds: float
    server_cpu_seconds: float
    peak_mib: float
    wal_bytes: int

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds


@dataclass(frozen=True)
class Contender:
    """A process that drains a topic in a consumer group."""

    name: str
    command: Sequence[str]
    group: str
    environment: Mapping[str, str]


def service(name: str, **environment: str) -> Contender:
    """Ours. Records that cannot be decoded hold no partition: the load with them is to be measured."""
    return Contender(
        name,
        [sys.executable, "-m", "services", name],
        f"minegnk.{name}",
        {"MINEGNK_CONSUMER_INVALID_LIMIT": "0", "MINEGNK_LOG_LEVEL": "ERROR", **environment},
    )


def raw(topic: str, *, plain: bool = False) -> Contender:
    """What the client library can read at most, with nothing done to it (see raw.py)."""
    name = "raw, plain" if plain else "raw"
    return Contender(name, [sys.executable, "-m", "bench.raw", topic, *(["--plain"] if plain else [])], "bench.raw", {})


async def drain(pipeline: Pipeline, contender: Contender, topic: str) -> Drained:
    """Let the contender read the topic from its beginning to its end. Raises RuntimeError when it ends before that.

    Starting takes seconds in every language: the clock runs from the first commit that is seen. By then a consumer may
    have more in hand, read ahead and half written, so it stops at the first commit behind four fifths: then as much is.
    To the end it would count as done in that time what was begun before it. A load so small that half of it is read by
    the first commit counts whole, from the start of the process.
    """
    partitions = [
        TopicPartition(topic, number) for known in TOPICS if known.name == topic for number in range(known.partitions)
    ]
    end = await _from_the_beginning(pipeline.kafka, contender.group, partitions)
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.kafka.bootstrap_servers)
    await admin.start()
    log = pipeline.logs / f"bench-{contender.name.replace(', ', '-')}.log"
    process = _start(pipeline, contender, log)
    try:
        watched, server = psutil.Process(process.pid), await _server(pipeline)
        limit = time.monotonic() + _LIMIT_SECONDS
        start = (time.perf_counter(), 0, 0.0, _server_seconds(server), await _wal(pipeline))
        first: tuple[float, int, float, float, int] | None = None
        drained: Drained | None = None
        while True:
            now = time.perf_counter()
            offsets = await admin.list_consumer_group_offsets(contender.group, partitions=partitions)
            done = sum(max(0, found.offset) for found in offsets.values())
            if process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"{contender.name} did not read to the end; its log:\n{log.read_text()[-3000:]}")
            if first is None and done:
                first = (now, done, _cpu_seconds(watched), _server_seconds(server), await _wal(pipeline))
                if 2 * done >= end:
                    first = start
            if first is not None and drained is None and done >= (end if first is start else _COUNTED * end):
                begun, read_before, cpu_before, server_before, wal_before = first
                drained = Drained(
                    done - read_before,
                    now - begun,
                    _cpu_seconds(watched) - cpu_before,
                    _server_seconds(server) - server_before,
                    0.0,
                    await _wal(pipeline) - wal_before,
                )
            if drained is not None and done >= end:
                return replace(drained, peak_mib=_peak_mib(watched))
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        await admin.close()


def _start(pipeline: Pipeline, contender: Contender, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            contender.command,
            env=pipeline.environment(**contender.environment),
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


async def _from_the_beginning(kafka: KafkaSettings, group: str, partitions: Sequence[TopicPartition]) -> int:
    """Set the group's offsets to the beginning; returns the number of records."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=group, enable_auto_commit=False)
    consumer.assign(partitions)
    await consumer.start()
    limit = time.monotonic() + _GROUP_SECONDS
    try:
        while True:
            try:
                await consumer.commit(dict.fromkeys(partitions, (0, "")))
                break
            except KafkaError:  # a member that ended without a word is a member until its session's time-out
                if time.monotonic() > limit:
                    raise
                await asyncio.sleep(1)
        return sum((await consumer.end_offsets(partitions)).values())
    finally:
        await consumer.stop()


def _processes(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu_seconds(process: psutil.Process) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in _processes(process))


async def _server(pipeline: Pipeline) -> psutil.Process:
    """PostgreSQL's first process, whose children are all others."""
    ((child,),) = await pipeline.rows("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
    server = psutil.Process(child).parent()
    assert server is not None, "a server's process has a parent"
    return server


def _server_seconds(server: psutil.Process) -> float:
    """What PostgreSQL has used so far, its processes that have ended included."""
    used = sum(server.cpu_times()[:4])  # its own, and that of children that have ended
    for child in server.children():
        with suppress(psutil.NoSuchProcess):
            used += sum(child.cpu_times()[:2])
    return used


def _peak_mib(process: psutil.Process) -> float:
    """The most that was in memory at one time, of the process and its children."""
    peak = 0
    for each in _processes(process):
        status = Path(f"/proc/{each.pid}/status").read_text(encoding="ascii")
        peak += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
    return peak / 1024


async def _wal(pipeline: Pipeline) -> int:
    ((position,),) = await pipeline.rows("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")
    return int(position)
