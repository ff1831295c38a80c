"""`minegnk publish --follow`: what a file or a pipe brings is published as it comes."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.kernel.events import READINGS_TOPIC
from tests.integration.pipeline import REPOSITORY, Pipeline, records_of, until

pytestmark = pytest.mark.integration


def line(node: int) -> bytes:
    """A reading of a node, as a line."""
    reading = {
        "identifier": f"gonka1{node:038}",
        "identifier_type": "wallet",
        "source": "mine",
        "observed_at": "2026-03-01T12:00:00Z",
        "status": "healthy",
    }
    return json.dumps(reading).encode() + b"\n"


@contextmanager
def following(pipeline: Pipeline, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The command, which must end by itself."""
    command = [sys.executable, "-m", "services", "publish", "readings", "--follow", *arguments]
    with subprocess.Popen(
        command,
        env=pipeline.environment(),
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def published(pipeline: Pipeline, *nodes: int) -> None:
    """Return when readings of these nodes are in Kafka."""

    async def there() -> bool:
        records = await records_of(pipeline.kafka, READINGS_TOPIC)
        return {f"gonka1{node:038}".encode() for node in nodes} <= {record.key for record in records}

    await until(there, f"readings of {nodes} published")


async def test_lines_that_a_file_gets_are_published_also_after_it_was_replaced(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    file = tmp_path / "readings.jsonl"
    file.write_bytes(line(1) + line(2)[:20])
    with following(pipeline, str(file)) as process:
        await published(pipeline, 1)
        with file.open("ab") as more:
            more.write(line(2)[20:] + b"{bad\n" + line(3))
        await published(pipeline, 2, 3)
        fresh = tmp_path / "fresh"
        fresh.write_bytes(line(4))
        fresh.rename(file)
        await published(pipeline, 4)
        file.write_bytes(line(5).replace(b" ", b""))  # shorter than what was there
        await published(pipeline, 5)
        process.send_signal(signal.SIGINT)
        out, errors = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 1, errors
    assert out.decode().strip() == f"5 published to {READINGS_TOPIC}, 1 invalid"
    assert errors.startswith(b"line 3: undecodable: ")


async def test_a_line_through_a_pipe_does_not_wait_for_the_next(pipeline: Pipeline) -> None:
    with following(pipeline) as process:
        assert process.stdin is not None
        for node in (11, 12):
            process.stdin.write(line(node))
            process.stdin.flush()
            await published(pipeline, node)
        process.stdin.write(line(13).rstrip())
        out, errors = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 0, errors
    assert out.decode().strip() == f"3 published to {READINGS_TOPIC}, 0 invalid"
    await published(pipeline, 13)


async def test_ctrl_c_ends_it_while_it_waits_for_a_pipe(pipeline: Pipeline) -> None:
    with following(pipeline) as process:
        assert process.stdin is not None
        process.stdin.write(line(21))
        process.stdin.flush()
        await published(pipeline, 21)
        process.send_signal(signal.SIGINT)
        await asyncio.to_thread(process.wait, timeout=20)
        assert process.returncode == 0
