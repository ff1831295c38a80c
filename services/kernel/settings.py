"""Settings from environment variables. Every variable's name, default and meaning is here and nowhere else."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

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

    max_batch: int = Field(5000, ge=1, le=50_000, description="records of one database transaction at most")
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
        description="port of /metrics, /livez and /readyz; 0: none (9100 ingest, 9101 cache, 9102 earnings)",
    )
    metrics_host: str = Field("127.0.0.1", description="address that /metrics, /livez and /readyz listen on")
    sources_file: Path = Field(Path("sources.toml"), description="the trackers that ingest follows")
    log_level: str = Field(
        "INFO", pattern="(?i)^(debug|info|warning|error)$", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: str = Field("json", pattern="^(json|text)$", description="json or text")


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
