"""Traces by OpenTelemetry: from a source's poll, through the headers of Kafka's records, to the committed rows.

Off unless the standard variables name a collector (OTEL_EXPORTER_OTLP_ENDPOINT, spoken to in OTLP over HTTP). While it
is off none of OpenTelemetry is even imported, and consumers decode and handle with the very functions they had.
"""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final, TypeAlias

from services.kernel.errors import ConfigurationError
from services.kernel.events import E
from services.kernel.halving import Applied
from services.kernel.wire import Decoding

if TYPE_CHECKING:
    from services.kernel.traces import Tracing

_PROTOCOL: Final = "http/protobuf"

Functions: TypeAlias = tuple[Decoding[E], Callable[[Sequence[E]], Awaitable[Applied]]]
"""How a consumer decodes records, and how it handles a batch of events."""


def span(tracing: "Tracing | None", name: str, **attributes: str) -> AbstractContextManager[object]:
    """A span where traces are made, nothing where not."""
    return nullcontext() if tracing is None else tracing.span(name, **attributes)


def followed(tracing: "Tracing | None", topic: str, functions: Functions[E]) -> Functions[E]:
    """The functions, made to continue the traces of the topic's records; the very same where no traces are made."""
    return functions if tracing is None else tracing.followed(topic, functions)


def configured(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the standard variables ask for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return bool(environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))


def tracing_for(service: str) -> "Tracing | None":
    """What makes the service's traces; None unless they are asked for.

    Raises ConfigurationError for a protocol other than OTLP over HTTP.
    """
    if not configured():
        return None
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if os.environ.get(variable, _PROTOCOL) != _PROTOCOL:
            raise ConfigurationError(f"{variable}: only {_PROTOCOL} is spoken; set it so, or leave it out.")
    from services.kernel.traces import Tracing  # noqa: PLC0415

    # The variables outrank what is given here, but for the name.
    return Tracing({} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": f"minegnk.{service}"})
