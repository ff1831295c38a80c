"""A real Chromium, and an API over a database of this package's own."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from services.embedded.servers import Endpoints
from services.kernel.settings import KafkaSettings
from tests.api.rows import Rows
from tests.api.server import RunningApi, not_around_midnight, running
from tests.integration.conftest import NewDatabase, new_database
from tests.integration.pipeline import Pipeline
from tests.page import fleet
from tests.page.browsing import Visitor, visiting
from tests.schema.sessions import session

__all__ = ["new_database"]

NewPipeline = Callable[[], Pipeline]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The system's Chromium."""
    path = shutil.which("chromium")
    if path is None:
        missing = "needs Chromium (Debian: apt install chromium)"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def new_pipeline(
    new_database: NewDatabase, runtime: Endpoints, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NewPipeline]:
    """Makes a migrated, empty database, and starts processes on it."""
    kafka = KafkaSettings.model_validate({"bootstrap_servers": f"127.0.0.1:{runtime.kafka_port}"})
    made: list[Pipeline] = []

    def make() -> Pipeline:
        made.append(Pipeline(new_database(), kafka, tmp_path_factory.mktemp("page")))
        return made[-1]

    yield make
    for pipeline in made:
        pipeline.stop_all()


@pytest.fixture(scope="package")
def pipeline(new_pipeline: NewPipeline) -> Pipeline:
    """The database with the fleet of `fleet.py`."""
    return new_pipeline()


@pytest.fixture(scope="package")
def rows(pipeline: Pipeline) -> Iterator[Rows]:
    """Writes rows into that database."""
    not_around_midnight()
    with session(pipeline.database) as connection:
        rows = Rows(connection)
        fleet.fill(rows)
        yield rows


@pytest.fixture(scope="package")
def api(pipeline: Pipeline, rows: Rows) -> Iterator[RunningApi]:
    """The fleet's API, open to everybody; however long the tests take, no reading becomes stale meanwhile."""
    with running(pipeline, MINEGNK_API_TTL="3600") as api:
        yield api


@pytest.fixture
def visitor(chromium: Browser, api: RunningApi) -> Iterator[Visitor]:
    """A visitor of the fleet."""
    with visiting(chromium, api) as visitor:
        yield visitor
