"""Traces are made when they are asked for, and cost nothing when not. (Of real ones: tests/integration.)"""

import subprocess
import sys
from collections.abc import Sequence

import pytest

from services.kernel.errors import ConfigurationError
from services.kernel.events import NodeReading
from services.kernel.halving import Applied
from services.kernel.tracing import configured, followed, span, tracing_for
from services.kernel.wire import decoding_of

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


async def _handled(events: Sequence[NodeReading]) -> Applied:
    return Applied(changed=len(events))


def test_without_them_a_consumer_has_the_very_functions_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ENDPOINT:
        monkeypatch.delenv(variable, raising=False)
    functions = (decoding_of(NodeReading), _handled)
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
