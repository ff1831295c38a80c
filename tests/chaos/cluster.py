"""A PostgreSQL, a Kafka, a proxy in front of each, and the workers that reach them through it."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random, SystemRandom
from types import TracebackType

from pydantic import SecretStr

from services.embedded.ports import PORTS, is_free, remembered_ports
from services.embedded.server import Server
from services.embedded.servers import EmbeddedServers
from services.kernel import migrations
from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC
from services.kernel.settings import DatabaseSettings, KafkaSettings
from services.kernel.topics import ensure_topics
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import MAX_POLL_INTERVAL_SECONDS, SESSION_TIMEOUT_SECONDS
from tests.integration.pipeline import Pipeline, Worker, until

TOPIC_OF = {"cache": READINGS_TOPIC, "earnings": EARNINGS_TOPIC}

STOP_SECONDS = 10.0
"""A worker that is told to end has so long."""

UNAVAILABLE_EXIT_CODE = 3
"""Of a worker that was started while a server was away: it says so and ends, and its supervisor starts another."""

_WHILE_STARTING = (-signal.SIGTERM, UNAVAILABLE_EXIT_CODE)
_RESTART_SECONDS = 2.0
_START_SECONDS = 180.0  # of a Kafka that was killed, on a machine that has other things to do
_SETTINGS = {
    "MINEGNK_CONSUMER_MAX_POLL_INTERVAL": str(MAX_POLL_INTERVAL_SECONDS),
    "MINEGNK_KAFKA_SESSION_TIMEOUT": str(SESSION_TIMEOUT_SECONDS),
    "MINEGNK_CONSUMER_MAX_BATCH": "500",
    "MINEGNK_CONSUMER_INVALID_LIMIT": "0",
}


@dataclass
class Running:
    """A worker, what it says in its log, and when it was started."""

    service: str
    worker: Worker
    metrics_port: int
    started: float = field(default_factory=time.monotonic)

    @property
    def alive(self) -> bool:
        """Whether its process runs (perhaps stopped by SIGSTOP)."""
        return self.worker.process.poll() is None

    @property
    def pid(self) -> int:
        """Its process number."""
        return self.worker.process.pid

    def says(self, event: str) -> Iterator[dict[str, object]]:
        """The entries of its log with this name."""
        with self.worker.log.open(encoding="utf-8", errors="replace") as log:
            for line in log:
                with suppress(ValueError):
                    entry = json.loads(line)
                    if entry.get("event") == event:
                        yield entry

    @property
    def partitions(self) -> frozenset[int]:
        """Those of its service's topic that it was last given; what was revoked since is assigned again at once."""
        held: frozenset[int] = frozenset()
        for entry in self.says("partitions_assigned"):
            partitions = entry["partitions"]
            if entry["topic"] == TOPIC_OF[self.service] and isinstance(partitions, list):
                held = frozenset(partitions)
        return held

    async def ended_within(self, seconds: float) -> bool:
        """Wait for its end."""
        with suppress(AssertionError):
            await until(self._ended, "ended", seconds)
        return not self.alive

    async def _ended(self) -> bool:
        return not self.alive


class Cluster:
    """Everything of one run, in a folder; workers that fail go to `failures`, a sentence each."""

    def __init__(self, directory: Path, chance: Random) -> None:
        self._directory = directory
        names = ("postgres_proxy", "kafka_proxy")
        ports = remembered_ports(directory / "proxies.json", names)
        self.proxies = {name: Proxy(ports[f"{name}_proxy"], chance) for name in ("postgres", "kafka")}
        self.workers: list[Running] = []
        self.failures: list[str] = []
        self.refused_starts = 0
        self.direct: Pipeline
        """For the test itself: past the proxies."""
        self._relayed: Pipeline
        self._servers: EmbeddedServers
        self._watching: asyncio.Task[None]
        self._ports: set[int] = set()

    async def __aenter__(self) -> "Cluster":
        for proxy in self.proxies.values():
            await proxy.start()  # listening already, so that no server is given its port
        self._servers = EmbeddedServers(self._directory / "servers", kafka_relay_port=self.proxies["kafka"].port)
        try:
            endpoints = await asyncio.to_thread(self._servers.start)
            relay = self._servers.kafka.relay
            assert relay is not None
            self.proxies["postgres"].target_port = endpoints.postgres_port
            self.proxies["kafka"].target_port = relay.port
            given = endpoints.environment()
            self.direct = self._pipeline(given, endpoints.postgres_port, endpoints.kafka_port)
            self._relayed = self._pipeline(given, self.proxies["postgres"].port, self.proxies["kafka"].port)
            await asyncio.to_thread(migrations.apply, self.direct.database)
            await ensure_topics(self.direct.kafka)
        except BaseException:
            await self._stop_servers()
            raise
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watching.cancel()
        for running in self.workers:
            self.kill(running)
        await asyncio.gather(self._watching, return_exceptions=True)
        await self._stop_servers()

    def _pipeline(self, given: dict[str, str], postgres_port: int, kafka_port: int) -> Pipeline:
        database = DatabaseSettings(
            host=given["DB_HOST"],
            port=postgres_port,
            username=given["DB_USERNAME"],
            password=SecretStr(given["DB_PASSWORD"]),
            database=given["DB_DATABASE"],
        )
        kafka = KafkaSettings.model_validate({"bootstrap_servers": f"127.0.0.1:{kafka_port}"})
        return Pipeline(database, kafka, self._directory)

    async def _stop_servers(self) -> None:
        for proxy in self.proxies.values():
            await proxy.stop()
        await asyncio.to_thread(self._servers.stop)

    # Servers.

    def server(self, name: str) -> Server:
        """The server `postgres` or `kafka`."""
        return self._servers.postgres if name == "postgres" else self._servers.kafka

    async def kill_server(self, name: str) -> None:
        """End a server as a power cut would."""
        await asyncio.to_thread(self.server(name).kill)

    async def start_server(self, name: str) -> None:
        """Start a server again; returns when it serves."""
        server = self.server(name)

        def start() -> None:
            server.start()
            server.wait_ready(_START_SECONDS)

        await asyncio.to_thread(start)

    # Workers.

    def start(self, service: str) -> Running:
        """Start a worker."""
        port = self._free_port()
        worker = self._relayed.start(service, MINEGNK_METRICS_PORT=str(port), **_SETTINGS)
        running = Running(service, worker, port)
        self.workers.append(running)
        return running

    def of(self, service: str) -> list[Running]:
        """The service's workers that run, those that hold partitions first."""
        running = [each for each in self.workers if each.service == service and each.alive]
        return sorted(running, key=lambda each: not each.partitions)

    def _free_port(self) -> int:
        """A port that nobody listens on, and that no worker was given, who may not listen yet."""
        while True:
            port = SystemRandom().choice(PORTS)
            if port not in self._ports and is_free(port):
                self._ports.add(port)
                return port

    async def ready(self, running: Running, seconds: float = 40) -> None:
        """Wait until the worker holds partitions."""

        async def holds() -> bool:
            assert running.alive, f"ended by itself: {running.worker}"
            return bool(running.partitions)

        await until(holds, f"{running.service} has partitions", seconds)

    def kill(self, running: Running) -> None:
        """End a worker with SIGKILL. Like every signal here it may find that it has just ended by itself."""
        running.worker.ended = True
        running.worker.process.kill()
        running.worker.process.wait()

    def freeze(self, running: Running) -> None:
        """Stop a worker's process where it is."""
        running.worker.process.send_signal(signal.SIGSTOP)

    def thaw(self, running: Running) -> None:
        """Let a frozen process go on."""
        running.worker.process.send_signal(signal.SIGCONT)

    async def terminate(self, running: Running) -> float:
        """Send SIGTERM; the seconds until it ended. It must end in time, with exit code 0.

        One that is still starting, and holds nothing, may be ended by the signal itself.
        """
        running.worker.ended = True
        began = time.monotonic()
        running.worker.process.send_signal(signal.SIGTERM)
        in_time = await running.ended_within(STOP_SECONDS)
        if not in_time:
            self.kill(running)
            self.failures.append(f"did not end within {STOP_SECONDS:g} s of SIGTERM: {running.worker}")
        elif (code := running.worker.process.returncode) != 0 and (code not in _WHILE_STARTING or running.partitions):
            self.failures.append(f"ended with {code} after SIGTERM: {running.worker}")
        return time.monotonic() - began

    async def stop_workers(self) -> None:
        """Terminate all of them at the same time, and start no more."""
        self._watching.cancel()
        await asyncio.gather(*(self.terminate(running) for running in self.workers if running.alive))

    async def _watch(self) -> None:
        """A supervisor: a worker that ended by itself is started again, and is a failure unless a server was away."""
        due: list[tuple[float, str]] = []
        while True:
            for running in self.workers:
                if running.alive or running.worker.ended:
                    continue
                running.worker.ended = True
                if running.worker.process.returncode == UNAVAILABLE_EXIT_CODE and not running.partitions:
                    self.refused_starts += 1
                else:
                    self.failures.append(f"ended by itself: {running.worker}")
                due.append((time.monotonic() + _RESTART_SECONDS, running.service))
            while due and due[0][0] <= time.monotonic():
                self.start(due.pop(0)[1])
            await asyncio.sleep(0.25)
