"""A Kafka that goes away between the check and the start is a sentence, not a traceback."""

import subprocess
import sys

import pytest

from tests.integration.pipeline import REPOSITORY, Pipeline, free_port

pytestmark = pytest.mark.integration

PROGRAM = """
import sys
import services.cache.app
import services.cli.services as running
from services.cli.main import main

async def checked_while_kafka_was_there(*_):
    return 12

running._check = checked_while_kafka_was_there
sys.argv = ["minegnk", "cache"]
main()
"""


def test_a_kafka_that_goes_away_during_the_start_is_one_sentence(pipeline: Pipeline) -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=pipeline.environment(MINEGNK_KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 3
    assert found.stderr.rstrip().endswith("minegnk: Kafka went away while the service started: start it again.")
