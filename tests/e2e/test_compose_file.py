"""What docker-compose.yml promises, read from the files alone."""

import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.embedded import kafka
from services.embedded.jars import KAFKA_VERSION
from services.kernel.topics import DATA_TOPICS
from tests.e2e.engine import ROOT

EMBEDDED_KAFKA = Path(kafka.__file__).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return dict(document["services"])


def test_containers_and_the_embedded_runtime_use_the_same_kafka(services: dict[str, Any]) -> None:
    assert services["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_a_group_that_is_away_keeps_its_offsets_longer_than_its_records_are_kept(services: dict[str, Any]) -> None:
    """Else it would begin with what is left, and nobody would learn what is not."""
    embedded = re.search(r"^offsets\.retention\.minutes=(\d+)$", EMBEDDED_KAFKA, flags=re.MULTILINE)
    assert embedded is not None
    longest = max(topic.retention for topic in DATA_TOPICS)
    for minutes in (services["kafka"]["environment"]["KAFKA_OFFSETS_RETENTION_MINUTES"], embedded[1]):
        assert timedelta(minutes=int(minutes)) > 2 * longest


def test_nothing_has_a_fixed_name_and_only_pages_a_port_of_the_host_on_loopback(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "container_name" in service] == []
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == {
        "api": ["${MINEGNK_API_BIND:-127.0.0.1}:${MINEGNK_API_PORT:-8080}:8080"],
        "prometheus": ["127.0.0.1:${MINEGNK_PROMETHEUS_PORT:-9090}:9090"],
        "grafana": ["127.0.0.1:${MINEGNK_GRAFANA_PORT:-3000}:3000"],
    }


def test_the_example_documents_every_variable_of_the_compose_file() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    documented = set(re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert used == documented - {"COMPOSE_PROFILES"}


def test_the_example_suits_the_compose_file_as_it_is() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    given = set(re.findall(r"^(\w+)=\S", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert required <= given


def test_every_service_has_limits(services: dict[str, Any]) -> None:
    limits = {name: service["deploy"]["resources"]["limits"].keys() for name, service in services.items()}
    assert {name for name, given in limits.items() if given != {"cpus", "memory", "pids"}} == set()


def test_every_service_that_goes_on_is_watched_and_started_again(services: dict[str, Any]) -> None:
    jobs = {"migrate", "topics", "minegnk"}
    assert {name for name, service in services.items() if "healthcheck" not in service} == jobs | {"grafana"}
    kept = {name for name, service in services.items() if service.get("restart") == "unless-stopped"}
    assert services.keys() - kept == jobs | {"simulator"}


def test_kafkas_memory_holds_its_heap_three_times(services: dict[str, Any]) -> None:
    heap = re.search(r"-Xmx(\d+)m", services["kafka"]["environment"]["KAFKA_HEAP_OPTS"])
    limit = re.search(r"(\d+)m", services["kafka"]["deploy"]["resources"]["limits"]["memory"])
    assert heap is not None
    assert limit is not None
    assert int(limit[1]) >= 3 * int(heap[1])


def test_make_says_what_is_missing_without_settings(tmp_path: Path) -> None:
    for target in ("up", "down", "logs", "scale", "restart"):
        made = subprocess.run(
            ["make", "--file", ROOT / "Makefile", target], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert made.returncode != 0
        assert made.stderr.startswith("Run cp .env.example .env first.\n")
