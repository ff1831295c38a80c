"""What docker-compose.yml promises, read from the files alone."""

import re
from typing import Any

import pytest
import yaml

from services.embedded.jars import KAFKA_VERSION
from tests.e2e.engine import ROOT


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return dict(document["services"])


def test_containers_and_the_embedded_runtime_use_the_same_kafka(services: dict[str, Any]) -> None:
    assert services["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_nothing_has_a_fixed_name_and_only_the_page_a_port_of_the_host_on_loopback(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "container_name" in service] == []
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == {"api": ["${MINEGNK_API_BIND:-127.0.0.1}:${MINEGNK_API_PORT:-8080}:8080"]}


def test_the_example_documents_every_variable_of_the_compose_file() -> None:
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    documented = set(re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert used == documented - {"COMPOSE_PROFILES"}


def test_the_example_suits_the_compose_file_as_it_is() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    given = set(re.findall(r"^(\w+)=\S", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert required <= given
