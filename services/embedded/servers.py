"""PostgreSQL and Kafka of one folder, started side by side by this process."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from services.embedded import postgres
from services.embedded.jars import Progress
from services.embedded.kafka import KafkaServer, Relay
from services.embedded.ports import remembered_ports
from services.embedded.postgres import PostgresServer
from services.embedded.server import Server


@dataclass(frozen=True)
class Endpoints:
    """Where the two serve (both on 127.0.0.1), and the process (`pid`) that keeps them running."""

    postgres_port: int
    postgres_password: str = field(repr=False)
    kafka_port: int
    pid: int

    def environment(self) -> dict[str, str]:
        """The settings that point a service at them: variable → value."""
        return {
            "DB_HOST": "127.0.0.1",
            "DB_PORT": str(self.postgres_port),
            "DB_USERNAME": postgres.USER,
            "DB_PASSWORD": self.postgres_password,
            "DB_DATABASE": postgres.DATABASE,
            "MINEGNK_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.kafka_port}",
        }


class EmbeddedServers:
    """Both servers of `directory`. For one owner at a time: the supervisor, or a test that stops and kills them.

    With `kafka_relay_port`, clients can also come to Kafka through a relay on that port: it passes them on to
    `kafka.relay.port`.
    """

    def __init__(
        self, directory: Path, on_progress: Progress | None = None, *, kafka_relay_port: int | None = None
    ) -> None:
        directory = directory.absolute()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = ["postgres", "kafka", "kafka_controller", *(["kafka_relayed"] if kafka_relay_port else [])]
        ports = remembered_ports(directory / "ports.json", names)
        relay = Relay(ports["kafka_relayed"], kafka_relay_port) if kafka_relay_port else None
        self.postgres = PostgresServer(directory, ports["postgres"])
        self.kafka = KafkaServer(directory, ports["kafka"], ports["kafka_controller"], on_progress, relay)
        self._on_progress = on_progress

    @property
    def both(self) -> tuple[Server, Server]:
        """PostgreSQL and Kafka."""
        return self.postgres, self.kafka

    @property
    def endpoints(self) -> Endpoints:
        """Where they serve; known once they have been started."""
        return Endpoints(self.postgres.port, self.postgres.password, self.kafka.port, os.getpid())

    def start(self) -> Endpoints:
        """Start both in parallel and return when both serve. Raises UnavailableError, and then neither is left."""
        try:
            with ThreadPoolExecutor(max_workers=2, thread_name_prefix="embedded") as pool:
                for start in [pool.submit(self._start, server) for server in self.both]:
                    start.result()
        except BaseException:
            self.stop()
            raise
        return self.endpoints

    def _start(self, server: Server) -> None:
        server.prepare()
        server.start()
        server.wait_ready()
        if self._on_progress:
            self._on_progress(f"{server.name} serves on port {server.port}")

    def stop(self) -> None:
        """Stop both in parallel; what is not started is left alone."""
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="embedded") as pool:
            for stop in [pool.submit(server.stop) for server in self.both]:
                stop.result()

    def exited(self) -> Server | None:
        """A server that ended by itself."""
        return next((server for server in self.both if server.exit_status() is not None), None)
