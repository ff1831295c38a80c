"""An API of the module's own, over a migrated database of its own."""

from collections.abc import Iterator

import pytest

from services.embedded.servers import Endpoints
from services.kernel.settings import KafkaSettings
from tests.api.rows import Rows
from tests.api.server import RunningApi, not_around_midnight, running
from tests.integration.conftest import NewDatabase, kafka, new_database
from tests.integration.pipeline import Pipeline
from tests.schema.sessions import session

__all__ = ["kafka", "new_database"]


@pytest.fixture(scope="module")
def pipeline(
    new_database: NewDatabase, runtime: Endpoints, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """A database of this module; the topics stay as they are, and nobody asks for them."""
    settings = KafkaSettings.model_validate({"bootstrap_servers": f"127.0.0.1:{runtime.kafka_port}"})
    pipeline = Pipeline(new_database(), settings, tmp_path_factory.mktemp("api"))
    yield pipeline
    pipeline.stop_all()


@pytest.fixture(scope="module")
def rows(pipeline: Pipeline) -> Iterator[Rows]:
    """Writes rows into the module's database."""
    not_around_midnight()
    with session(pipeline.database) as connection:
        yield Rows(connection)


@pytest.fixture(scope="module")
def api(pipeline: Pipeline) -> Iterator[RunningApi]:
    """The module's API, open to everybody."""
    with running(pipeline) as api:
        yield api
