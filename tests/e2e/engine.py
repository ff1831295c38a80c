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

_SETTINGS = ("DB_", "MINEGNK_", "KAFKA_", "POSTGRES_", "COMPOSE_", "OTEL_")

T = TypeVar("T")


@dataclass(frozen=True)
class Compose:
    """The project's compose file, run as a project of its own; `environment` says by which engine, and with what."""

    project: str
    environment: Mapping[str, str]

    def __call__(self, *arguments: str, timeout: float = 60) -> str:
        """Standard output of `docker compose ARGUMENTS`; fails the test with all it said when it fails."""
        return self.run("docker", "compose", *arguments, timeout=timeout)

    def make(self, *arguments: str, timeout: float = 60) -> str:
        """Standard output of `make ARGUMENTS`, which finds the settings in .env.example instead of .env."""
        return self.run("make", "--assume-old=.env", *arguments, timeout=timeout)

    def run(self, *command: str, timeout: float = 60) -> str:
        """Standard output of a command that runs `docker` or `docker compose` on this project."""
        # The example's settings are what a newcomer runs with.
        project = {"COMPOSE_PROJECT_NAME": self.project, "COMPOSE_ENV_FILES": ".env.example"}
        return run(command, timeout=timeout, environment={**self.environment, **project})

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
        return json.loads(self.run("docker", "inspect", container))[0]

    def wait_for_health(self, container: str, *, timeout: float = 60) -> None:
        """Return once the container's health check passes; fails the test when it does not in time."""
        name = self.inspect(container)["Name"]
        wait_for(
            f"the health of {name}",
            lambda: self.inspect(container)["State"]["Health"]["Status"] == "healthy",
            timeout=timeout,
        )


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
def engine() -> Iterator[Mapping[str, str]]:
    """The variables with which `docker` finds an engine that answers; skips the test where there is none."""
    if shutil.which("docker") and _succeeds(["docker", "info"]):
        yield {}
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
        names = ("DOCKER_HOST", "DOCKER_CONFIG", "PATH")
        shown = run(["bash", "-c", f'eval "$(bash "$0" env)"; printenv {" ".join(names)}', str(script)])
        yield dict(zip(names, shown.splitlines(), strict=True))
    finally:
        if not found_running:
            run([*standin, "down"], timeout=120)


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
