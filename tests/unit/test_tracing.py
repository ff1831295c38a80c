"""Traces are made when they are asked for, and cost nothing when not. (Of real ones: tests/integration.)"""

import subprocess
import sys

import pytest

from services.kernel.errors import ConfigurationError
from services.kernel.tracing import configured, followed, span, tracing_for

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, False),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_traces_are_made_when_the_standard_variables_ask_for_them(environment: dict[str, str], expected: bool) -> None:
    assert configured(environment) is expected


def test_without_them_a_consumer_has_the_very_functions_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ENDPOINT:
        monkeypatch.delenv(variable, raising=False)
    functions = (lambda record: record, lambda events: events)
    tracing = tracing_for("cache")
    assert tracing is None
    assert followed(tracing, "t", functions) is functions
    with span(tracing, "poll") as nothing:
        assert nothing is None


def test_without_them_nothing_of_the_sdk_is_imported() -> None:
    program = (
        "import sys, services.ingest.app, services.cache.app, services.earnings.app; "
        "sys.exit('opentelemetry.sdk.trace' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode == 0


def test_another_protocol_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf"):
        tracing_for("cache")
