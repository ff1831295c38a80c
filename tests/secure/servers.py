"""A Kafka and a PostgreSQL that speak TLS and know their users."""

from collections.abc import Sequence
from pathlib import Path

from services.embedded.kafka import KafkaServer
from services.embedded.ports import free_port
from services.embedded.postgres import PostgresServer
from tests.secure.certificates import Authority, Certificate, needs_package

USER = "minegnk"
PASSWORD = "s3cret-of-kafka"
SERVICES = ("ingest", "cache", "earnings", "api")
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


class SecuredKafka(KafkaServer):
    """A broker that besides its plain port has one for each other protocol; they know its users by SCRAM-SHA-512.

    Whoever needs no login, and USER, may do everything; a service's user what it is given the right to.
    """

    _format_options = tuple(
        option
        for user in (USER, *SERVICES)
        for option in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={PASSWORD}]")
    )

    def __init__(self, directory: Path, authority: Authority) -> None:
        super().__init__(directory, free_port(), free_port())
        self.ports = {
            "PLAINTEXT": self.port,
            "SASL_SSL": free_port(),
            "SSL": free_port(),
            "SASL_PLAINTEXT": free_port(),
        }
        self._authority = authority
        directory.mkdir(parents=True, exist_ok=True)
        self._identity = directory / "broker.pem"
        certificate = authority.sign("broker", host="IP:127.0.0.1")
        self._identity.write_text(certificate.key.read_text() + certificate.certificate.read_text())

    def address(self, protocol: str) -> str:
        """Where this protocol is spoken."""
        return f"127.0.0.1:{self.ports[protocol]}"

    def _write_properties(self, data: Path) -> Path:
        file = super()._write_properties(data)
        listeners = ",".join(f"{protocol}://127.0.0.1:{port}" for protocol, port in self.ports.items())
        protocols = ",".join(f"{protocol}:{protocol}" for protocol in self.ports)
        with file.open("a") as properties:  # what stands last holds
            properties.write(f"""
listeners={listeners},CONTROLLER://127.0.0.1:{self.controller_port}
advertised.listeners={listeners}
listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{USER};User:CN=a-client
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={_SCRAM}
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config={_SCRAM}
listener.name.ssl.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={self._identity}
ssl.truststore.type=PEM
ssl.truststore.location={self._authority.file}
""")
        return file


class EncryptedPostgres(PostgresServer):
    """The PostgreSQL of Debian, which unlike the embedded one can speak TLS.

    The user `encrypted` may come over TLS only, `certified` with a certificate of that name only.
    """

    def __init__(self, directory: Path, authority: Authority) -> None:
        installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not installed:
            needs_package("postgresql", "one that speaks TLS")
        self._installed = installed[-1].parent
        super().__init__(directory, free_port())
        self._certificate: Certificate = authority.sign("postgresql", host="IP:127.0.0.1")
        self._authority = authority

    def prepare(self) -> None:
        """Say who may come how."""
        super().prepare()
        (self.data / "pg_hba.conf").write_text("""
host    all minegnk   127.0.0.1/32 scram-sha-256
hostssl all encrypted 127.0.0.1/32 scram-sha-256
hostssl all certified 127.0.0.1/32 scram-sha-256 clientcert=verify-full
""")

    def _programs(self) -> Path:
        return self._installed

    def _command(self) -> Sequence[str]:
        files = {
            "ssl_cert_file": self._certificate.certificate,
            "ssl_key_file": self._certificate.key,
            "ssl_ca_file": self._authority.file,
        }
        return [*super()._command(), "--ssl=on", *(f"--{name}={path}" for name, path in files.items())]
