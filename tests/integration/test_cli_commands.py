"""The commands with which a person watches and feeds the pipeline."""

import json
import subprocess
import sys

import pytest

from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC
from services.kernel.topics import TOPICS
from tests.integration.pipeline import REPOSITORY, Pipeline

pytestmark = pytest.mark.integration

NODE = "gonka1qzmhx83xnamk0uqup3lxpf2te9karrwjm9cjh7"
READING = (
    f'{{"identifier": "{NODE}", "identifier_type": "wallet", "source": "mine", "status": "jailed", "jobs_day": 7,'
    ' "observed_at": "2026-03-01T12:00:00Z"}'
)
REPORT = (
    f'{{"identifier": "{NODE}", "identifier_type": "wallet", "source": "mine", "kind": "day", "period": "2026-03-01",'
    ' "amount_ngonka": "3805", "final": true, "observed_at": "2026-03-02T00:10:00Z"}'
)


def run(pipeline: Pipeline, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services", *arguments],
        env=pipeline.environment(),
        cwd=REPOSITORY,
        input=given,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


async def test_published_events_become_rows_that_the_status_shows(pipeline: Pipeline) -> None:
    pipeline.start("cache")
    pipeline.start("earnings")
    published = run(pipeline, "publish", "readings", given=f"{READING}\n\n{{bad\n")
    assert published.returncode == 1
    assert "1 published" in published.stdout
    assert published.stderr.startswith("line 3: undecodable: ")
    assert run(pipeline, "publish", "earnings", given=REPORT).returncode == 0
    await pipeline.drained(READINGS_TOPIC, EARNINGS_TOPIC)

    shown = run(pipeline, "status", "--json")
    document = json.loads(shown.stdout)
    (row,) = document["tables"]["newest"]
    assert (row["identifier"], row["status"], row["jobs_day"]) == (NODE, "jailed", 7)
    assert row["earnings_day"] == "0.00000381"
    assert document["tables"]["history"] == 1
    assert [(topic["topic"], topic["records"], topic["lag"], topic["dead_letters"]) for topic in document["topics"]][
        :2
    ] == [(READINGS_TOPIC, 1, 0, 0), (EARNINGS_TOPIC, 1, 0, 0)]
    assert "jailed" in run(pipeline, "status").stdout


def test_making_topics_again_changes_nothing(pipeline: Pipeline) -> None:
    again = run(pipeline, "topics")
    assert again.returncode == 0
    assert again.stdout.count("exists") == len(TOPICS)
