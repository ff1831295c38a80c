"""Settings from environment variables. Every variable's name, default and meaning is here and nowhere else.

A secret may also come from a file: NAME_FILE instead of NAME.
"""

import os
import ssl
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.kernel.errors import ConfigurationError
from services.kernel.tls import Variable, client_context


def _number_of_seconds(value: Any) -> Any:
    with suppress(TypeError, ValueError):
        return float(value)
    return value


Seconds = Annotated[timedelta, BeforeValidator(_number_of_seconds)]
"""A duration: a variable holds a number of seconds (or an ISO 8601 duration)."""


class DatabaseSettings(BaseSettings):
    """Where PostgreSQL is: the variables of MineGNK's specification."""

    model_config = SettingsConfigDict(env_prefix="DB_", env_ignore_empty=True, frozen=True, extra="ignore")

    host: str = Field("localhost", description="PostgreSQL's host")
    port: int = Field(5432, ge=1, le=65535, description="PostgreSQL's port")
    username: str = Field("minegnk", description="login user")
    password: SecretStr = Field(SecretStr("minegnk"), description="the user's password")
    database: str = Field("minegnk", description="database name")
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        default="prefer",
        description="TLS, in libpq's terms: only verify-full knows that it speaks to the right server; prefer and "
        "require encrypt, and believe any certificate",
    )
    sslrootcert: Path | None = Field(
        default=None, description="PEM file of the authorities that verify-ca and verify-full believe"
    )
    sslcert: Path | None = Field(
        default=None, description="PEM file of the user's own certificate, where the server wants one"
    )
    sslkey: Path | None = Field(
        default=None, description="PEM file of that certificate's key, readable by its owner only"
    )

    @model_validator(mode="after")
    def _tls_fits(self) -> "DatabaseSettings":
        """Raises ConfigurationError, which says what to do."""
        verifies = self.sslmode in ("verify-ca", "verify-full")
        if verifies and self.sslrootcert is None:
            raise ConfigurationError(
                f"DB_SSLMODE is {self.sslmode} and DB_SSLROOTCERT is not set: set it to the PEM file of the authority "
                "that signed the server's certificate."
            )
        if self.sslrootcert is not None and not verifies:
            raise ConfigurationError(
                f"DB_SSLROOTCERT has no effect while DB_SSLMODE is {self.sslmode}: set DB_SSLMODE to verify-full."
            )
        if self.sslmode == "disable" and (self.sslcert or self.sslkey):
            raise ConfigurationError(
                "DB_SSLCERT and DB_SSLKEY have no effect while DB_SSLMODE is disable: set DB_SSLMODE to verify-full."
            )
        if len(self.libpq_tls) > 1:
            client_context(
                Variable("DB_SSLROOTCERT", self.sslrootcert),
                Variable("DB_SSLCERT", self.sslcert),
                Variable("DB_SSLKEY", self.sslkey),
            )
        return self

    @property
    def libpq_tls(self) -> dict[str, str]:
        """What concerns TLS, as parameters of libpq."""
        files = {"sslrootcert": self.sslrootcert, "sslcert": self.sslcert, "sslkey": self.sslkey}
        return {"sslmode": self.sslmode, **{name: str(path) for name, path in files.items() if path is not None}}


class KafkaSettings(BaseSettings):
    """Where Kafka is, and how it is spoken to."""

    model_config = SettingsConfigDict(env_prefix="MINEGNK_KAFKA_", env_ignore_empty=True, frozen=True, extra="ignore")

    bootstrap_servers: str = Field("localhost:9092", description="Kafka brokers, host:port separated by commas")
    session_timeout: Seconds = Field(
        timedelta(seconds=8), description="seconds from a worker's kill -9 until others take its partitions"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="SSL: encrypted; SASL: with a login; only in a network of one's own neither"
    )
    sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        default="SCRAM-SHA-512", description="how the login is proven; PLAIN sends the password and needs SASL_SSL"
    )
    sasl_username: str | None = Field(default=None, description="login user of SASL")
    sasl_password: SecretStr | None = Field(default=None, description="the login user's password")
    ssl_ca_file: Path | None = Field(
        default=None,
        description="PEM file of the authorities that may sign the brokers' certificates; unset: the system's",
    )
    ssl_cert_file: Path | None = Field(default=None, description="PEM file of a certificate, where brokers want one")
    ssl_key_file: Path | None = Field(default=None, description="PEM file of that certificate's key")
    ssl_key_password: SecretStr | None = Field(default=None, description="the key's password, where it has one")

    @model_validator(mode="after")
    def _security_fits(self) -> "KafkaSettings":
        """Raises ConfigurationError, which says what to do."""
        login = {"SASL_USERNAME": self.sasl_username, "SASL_PASSWORD": self.sasl_password}
        files = {
            "SSL_CA_FILE": self.ssl_ca_file,
            "SSL_CERT_FILE": self.ssl_cert_file,
            "SSL_KEY_FILE": self.ssl_key_file,
        }
        protocol = f"MINEGNK_KAFKA_SECURITY_PROTOCOL is {self.security_protocol}"
        for name, value in login.items():
            if self.logs_in and not value:
                raise ConfigurationError(f"{protocol} and MINEGNK_KAFKA_{name} is not set: set it.")
            if not self.logs_in and value:
                raise ConfigurationError(
                    f"{protocol}, with which MINEGNK_KAFKA_{name} has no effect: set the protocol to SASL_SSL."
                )
        for name, path in files.items():
            if not self.encrypted and path is not None:
                raise ConfigurationError(
                    f"{protocol}, with which MINEGNK_KAFKA_{name} has no effect: set the protocol to SSL or SASL_SSL."
                )
        if (self.security_protocol, self.sasl_mechanism) == ("SASL_PLAINTEXT", "PLAIN"):
            raise ConfigurationError(
                f"{protocol} and MINEGNK_KAFKA_SASL_MECHANISM is PLAIN, which would show the password to the network: "
                "set the protocol to SASL_SSL, or the mechanism to SCRAM-SHA-512."
            )
        _ = self.ssl_context  # its files are read now, or not at all
        return self

    @property
    def logs_in(self) -> bool:
        """Whether clients say who they are."""
        return self.security_protocol.startswith("SASL_")

    @property
    def encrypted(self) -> bool:
        """Whether clients speak TLS."""
        return self.security_protocol.endswith("SSL")

    @cached_property
    def ssl_context(self) -> ssl.SSLContext | None:
        """What a client trusts and shows; None without TLS."""
        if not self.encrypted:
            return None
        return client_context(
            Variable("MINEGNK_KAFKA_SSL_CA_FILE", self.ssl_ca_file),
            Variable("MINEGNK_KAFKA_SSL_CERT_FILE", self.ssl_cert_file),
            Variable("MINEGNK_KAFKA_SSL_KEY_FILE", self.ssl_key_file),
            self.ssl_key_password.get_secret_value() if self.ssl_key_password else None,
        )


class ConsumerSettings(BaseSettings):
    """How the batch consumer works."""

    model_config = SettingsConfigDict(env_prefix="MINEGNK_CONSUMER_", frozen=True, extra="ignore")

    max_batch: int = Field(40_000, ge=1, le=100_000, description="records of one database transaction at most")
    max_poll_interval: Seconds = Field(
        timedelta(minutes=5), description="seconds without polling after which Kafka takes a worker's partitions"
    )
    retry_first: Seconds = Field(timedelta(milliseconds=200), description="pause before a batch's first retry, seconds")
    retry_cap: Seconds = Field(timedelta(seconds=10), description="longest pause between retries, seconds")
    invalid_limit: int = Field(
        100, ge=0, description="invalid records of a partition within the window above which it is held; 0: no limit"
    )
    invalid_window: Seconds = Field(
        timedelta(minutes=10),
        ge=timedelta(seconds=60),
        description="the window of the limit on invalid records, seconds",
    )
    stuck_after: Seconds = Field(
        timedelta(minutes=5),
        ge=timedelta(seconds=1),
        description="seconds without any progress or attempt after which a process dumps its stacks and ends",
    )


class ServiceSettings(BaseSettings):
    """What belongs to one running service."""

    model_config = SettingsConfigDict(env_prefix="MINEGNK_", frozen=True, extra="ignore")

    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description=(
            "port of /metrics, /livez and /readyz; 0: none "
            "(9100 ingest, 9101 cache, 9102 earnings, 9103 api, 9104 exporter)"
        ),
    )
    metrics_host: str = Field("127.0.0.1", description="address that /metrics, /livez and /readyz listen on")
    sources_file: Path = Field(Path("sources.toml"), description="the trackers that ingest follows")
    log_level: str = Field(
        "INFO", pattern="(?i)^(debug|info|warning|error)$", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: str = Field("json", pattern="^(json|text)$", description="json or text")


class ApiSettings(BaseSettings):
    """How the read API answers."""

    model_config = SettingsConfigDict(env_prefix="MINEGNK_API_", frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="address that the API and the page listen on")
    port: int = Field(8080, ge=0, le=65535, description="port of the API and the page; 0: a free one")
    access: Literal["auto", "open", "keys"] = Field(
        "auto",
        description="who may read: open (anybody), keys (who has one), auto (open on a loopback address only)",
    )
    ttl: Seconds = Field(
        timedelta(minutes=5),
        ge=timedelta(seconds=1),
        description="seconds after which a reading is stale; it is then still shown, and a refresh asked for",
    )
    connections: int = Field(8, ge=1, le=100, description="connections to PostgreSQL for reading")
    rate_limit: int | None = Field(
        None,
        ge=0,
        description="requests a minute of each key or address; 0: no limit (600; none while access is open)",
    )
    subscribers: int = Field(2000, ge=0, description="open streams of live changes at most")
    cors_origins: str = Field(
        "", description="origins whose pages may read the API, separated by commas, like https://portal.example; *: any"
    )
    jwt_secret: SecretStr | None = Field(
        None,
        min_length=32,
        description="the secret with which the portal signs its tokens (HS256); unset: no tokens",
    )
    jwt_audience: str | None = Field(None, description="the audience that such a token must name")

    @cached_property
    def open(self) -> bool:
        """Whether anybody may read."""
        if self.access == "auto":
            return self.host == "localhost" or _is_loopback(self.host)
        return self.access == "open"

    @property
    def requests_a_minute(self) -> int:
        """The rate limit; 0: none."""
        if self.rate_limit is None:
            return 0 if self.open else 600
        return self.rate_limit


class PushSettings(BaseSettings):
    """How ingest takes events over HTTP."""

    model_config = SettingsConfigDict(env_prefix="MINEGNK_PUSH_", frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="address that the push API listens on")
    port: int = Field(8081, ge=0, le=65535, description="port of the push API; 0: none")
    body_limit: int = Field(
        8 * 2**20, ge=1024, description="bytes of a request's body at most, also of one that was compressed"
    )
    item_limit: int = Field(10_000, ge=1, description="events of a request at most")
    rate_limit: int = Field(600_000, ge=0, description="events a minute of each key; 0: no limit")
    buffer: int = Field(
        64 * 2**20, ge=1024, description="bytes of all bodies under way; above it producers are asked to come again"
    )
    timeout: Seconds = Field(
        timedelta(seconds=30),
        ge=timedelta(seconds=1),
        description="seconds for a body to come, and for Kafka to take it",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


S = TypeVar("S", bound=BaseSettings)


def load(settings: type[S]) -> S:
    """Read settings from the environment; a value that does not fit is a ConfigurationError naming its variable."""
    prefix = settings.model_config.get("env_prefix", "")
    try:
        return settings.model_validate(_secrets_from_files(settings, prefix))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        variable = f"{prefix}{first['loc'][0]}".upper() if first["loc"] else prefix
        raise ConfigurationError(f"{variable}: {first['msg']}. Set it right and start again.") from None


def secret_variables(settings: type[BaseSettings]) -> list[str]:
    """The variables that hold secrets; each may be given as NAME_FILE, the path of a file that holds it."""
    prefix = settings.model_config.get("env_prefix", "")
    return [f"{prefix}{name}".upper() for name in _secrets(settings)]


def _secrets(settings: type[BaseSettings]) -> list[str]:
    return [
        name
        for name, field in settings.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    ]


def _secrets_from_files(settings: type[BaseSettings], prefix: str) -> dict[str, str]:
    found = {}
    for name in _secrets(settings):
        variable = f"{prefix}{name}".upper()
        path = os.environ.get(f"{variable}_FILE")
        if not path:
            continue
        if os.environ.get(variable):
            raise ConfigurationError(f"{variable} and {variable}_FILE are both set: unset one of them.")
        try:
            secret = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"{variable}_FILE: {path} cannot be read ({error.strerror}): make it readable, or name another file."
            ) from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"{variable}_FILE: {path} is not UTF-8: write the secret as text.") from None
        # Editors and `echo` end a file with a line break, which is no part of a secret.
        found[name] = secret.removesuffix("\n")
        if not found[name]:
            raise ConfigurationError(f"{variable}_FILE: {path} is empty: write the secret into it.")
    return found
