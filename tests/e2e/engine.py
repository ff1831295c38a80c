"""A container engine for the tests: this machine's, or one that stands in where images cannot be pulled."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

ROOT = Path(__file__).parents[2]

_SETTINGS = ("DB_", "MINEGNK_", "KAFKA_", "COMPOSE_", "OTEL_")

T = TypeVar("T")


@dataclass(frozen=True)
class Compose:
    """The project's compose file, run by an engine as a project of its own."""

    docker: Sequence[str]
    project: str
    profile: str
    environment: Mapping[str, str]

    def __call__(self, *arguments: str, timeout: float = 60) -> str:
        """Standard output of `docker compose ARGUMENTS`; fails the test with all it said when it fails."""
        # The example's settings are what a newcomer runs with.
        options = ["--env-file", ".env.example", "--project-name", self.project, "--profile", self.profile]
        return run([*self.docker, "compose", *options, *arguments], timeout=timeout, environment=self.environment)

    def sql(self, statement: str) -> list[list[str]]:
        """The rows that a statement gives, as text."""
        psql = ["psql", "--username=minegnk", "--dbname=minegnk", "--no-align", "--tuples-only", "--command", statement]
        return [line.split("|") for line in self("exec", "-T", "postgres", *psql).splitlines()]

    def shares(self, group: str, topic: str) -> dict[str, int]:
        """How many of the topic's partitions each member of the consumer group holds, by Kafka's own account."""
        command = "/opt/kafka/bin/kafka-consumer-groups.sh"
        asked = self("exec", "-T", "kafka", command, "--bootstrap-server=kafka:9092", "--describe", f"--group={group}")
        shares: dict[str, int] = {}
        for line in asked.splitlines():
            match line.split():
                case [_, name, _, _, _, _, member, *_] if name == topic and member != "-":
                    shares[member] = shares.get(member, 0) + 1
        return shares

    def containers(self, service: str) -> list[str]:
        """The ids of the service's containers."""
        return self("ps", "--all", "--quiet", service).split()

    def inspect(self, container: str) -> Any:
        """What the engine knows of a container."""
        return json.loads(run([*self.docker, "inspect", container]))[0]


def run(command: Sequence[str], *, timeout: float = 60, environment: Mapping[str, str] | None = None) -> str:
    """Standard output of a command in the project's folder; fails the test when the command fails."""
    # The shell's own settings would win over those of .env.example.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=inherited | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def wait_for(what: str, probe: Callable[[], T], *, timeout: float = 60) -> T:
    """The probe's first true value; fails the test when none comes in time."""
    deadline = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {timeout:g} s, last seen {value!r}")
        time.sleep(0.5)


@contextmanager
def docker() -> Iterator[Sequence[str]]:
    """The docker command of an engine that answers; skips the test where there is none."""
    if shutil.which("docker") and _succeeds(["docker", "info"]):
        yield ["docker"]
        return
    script = (ROOT / os.environ.get("MINEGNK_STANDIN_DIR", "../shared/standin") / "standin.sh").resolve()
    if not script.is_file():
        pytest.skip("needs a container engine: `docker info` fails, and MINEGNK_STANDIN_DIR has no standin.sh")
    if os.geteuid() != 0 or not (os.environ.get("CI") == "true" or os.environ.get("MINEGNK_E2E") == "1"):
        pytest.skip("`docker info` fails; as root, MINEGNK_E2E=1 starts a stand-in for it")
    standin = ["bash", str(script)]
    found_running = _succeeds([*standin, "docker", "info"])
    try:
        run([*standin, "up"], timeout=120)
        run([*standin, "images", "python", "kafka", "postgres", "prometheus"], timeout=240)
        yield [*standin, "docker"]
    finally:
        if not found_running:
            run([*standin, "down"], timeout=120)


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
