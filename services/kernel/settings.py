"""Settings from environment variables. Every variable's name, default and meaning is here and nowhere else."""

from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.kernel.errors import ConfigurationError


def _number_of_seconds(value: Any) -> Any:
    with suppress(TypeError, ValueError):
        return float(value)
    return value


Seconds = Annotated[timedelta, BeforeValidator(_number_of_seconds)]
"""A duration: a variable holds a number of seconds (or an ISO 8601 duration)."""


class DatabaseSettings(BaseSettings):
    """Where PostgreSQL is: the variables of MineGNK's specification."""

    model_config = SettingsConfigDict(env_prefix="DB_", frozen=True, extra="ignore")

    host: str = Field("localhost", description="PostgreSQL's host")
    port: int = Field(5432, ge=1, le=65535, description="PostgreSQL's port")
    username: str = Field("minegnk", description="login user")
    password: SecretStr = Field(SecretStr("minegnk"), description="the user's password")
    database: str = Field("minegnk", description="database name")


class KafkaSettings(BaseSettings):
    """Where Kafka is."""

    model_config = SettingsConfigDict(env_prefix="MINEGNK_KAFKA_", frozen=True, extra="ignore")

    bootstrap_servers: str = Field("localhost:9092", description="Kafka brokers, host:port separated by commas")
    session_timeout: Seconds = Field(
        timedelta(seconds=8), description="seconds from a worker's kill -9 until others take its partitions"
    )


class ConsumerSettings(BaseSettings):
    """How the batch consumer works."""

    model_config = SettingsConfigDict(env_prefix="MINEGNK_CONSUMER_", frozen=True, extra="ignore")

    max_batch: int = Field(20_000, ge=1, le=50_000, description="records of one database transaction at most")
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
    try:
        return settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        prefix = settings.model_config.get("env_prefix", "")
        variable = f"{prefix}{first['loc'][0]}".upper() if first["loc"] else prefix
        raise ConfigurationError(f"{variable}: {first['msg']}. Set it right and start again.") from None
