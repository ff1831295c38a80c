"""A pipeline with servers of its own, for the commands under tests/ that run outside pytest."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from services.embedded import runtime
from services.kernel import migrations
from services.kernel.settings import DatabaseSettings, KafkaSettings
from services.kernel.topics import ensure_topics
from tests.integration.pipeline import Pipeline


@contextmanager
def own_pipeline() -> Iterator[Pipeline]:
    """A migrated database and empty topics on a PostgreSQL and a Kafka that live as long as the block."""
    with tempfile.TemporaryDirectory(prefix="minegnk-") as folder:
        directory = Path(folder)
        endpoints = runtime.start(directory / "servers", with_parent=os.getpid(), on_progress=_say)
        try:
            environment = endpoints.environment()
            database = DatabaseSettings(
                host=environment["DB_HOST"],
                port=int(environment["DB_PORT"]),
                username=environment["DB_USERNAME"],
                password=SecretStr(environment["DB_PASSWORD"]),
                database=environment["DB_DATABASE"],
            )
            kafka = KafkaSettings.model_validate({"bootstrap_servers": environment["MINEGNK_KAFKA_BOOTSTRAP_SERVERS"]})
            migrations.apply(database)
            asyncio.run(ensure_topics(kafka))
            pipeline = Pipeline(database, kafka, directory)
            try:
                yield pipeline
            finally:
                pipeline.stop_all()
        finally:
            runtime.stop(directory / "servers")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
