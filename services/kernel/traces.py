"""The spans of a trace, and the header that carries it from record to record. Imported only where traces are made."""

import asyncio
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Final

from mode import Service
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.kernel.events import E
from services.kernel.halving import Applied
from services.kernel.tracing import Functions
from services.kernel.wire import Decoding, OutgoingRecord, WireRecord

TRACEPARENT: Final = "traceparent"
"""The header of a record, and its form, are those of W3C's Trace Context."""

_LONGEST: Final = 100
"""Of a header that is believed to be one; it has 55 characters."""

_FLUSH_SECONDS: Final = 1.0
_REMEMBERED: Final = 200_000
_SPANS_OF_A_BATCH: Final = 50
"""Traces of one batch that are told of it at most; a poll is one trace, whatever its number of records."""


class Tracing(Service):
    """Makes spans; runs as a part of a service, to send the last ones when it stops."""

    mundane_level = "debug"

    def __init__(self, resource: dict[str, str]) -> None:
        super().__init__()
        self._provider = TracerProvider(resource=Resource.create(resource), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("minegnk")
        self._propagator = TraceContextTextMapPropagator()

    async def on_stop(self) -> None:
        """Send what is left. A collector that is away is not waited for."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(sent.set)

        # Not a thread of the loop's pool: the process would not end before it.
        threading.Thread(target=shut_down, daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(sent.wait(), _FLUSH_SECONDS)

    def span(self, name: str, **attributes: str) -> AbstractContextManager[object]:
        """A span around a block, within the one that is current."""
        return self._tracer.start_as_current_span(name, attributes=attributes)

    @contextmanager
    def publishing(self, records: list[OutgoingRecord]) -> Iterator[list[OutgoingRecord]]:
        """A span around the block that publishes; gives the records with a header that continues the trace."""
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.batch.message_count": len(records),
        }
        with self._tracer.start_as_current_span("publish", kind=SpanKind.PRODUCER, attributes=attributes):
            carrier: dict[str, str] = {}
            self._propagator.inject(carrier)
            added = [(name, value.encode()) for name, value in carrier.items()]
            yield [record._replace(headers=[*record.headers, *added]) for record in records]

    def followed(self, topic: str, functions: Functions[E]) -> Functions[E]:
        """A consumer's functions, made to continue the traces of its records: a span a trace for each batch."""
        (decode, _), handle = functions
        # By the identity of the event, which is decoded once and then handled, now and then several times.
        parents: OrderedDict[int, str] = OrderedDict()

        def traced_decode(record: WireRecord) -> E:
            event = decode(record)
            parents.pop(id(event), None)
            for name, value in record.headers:
                if name == TRACEPARENT and value and len(value) <= _LONGEST:
                    parents[id(event)] = value.decode("ascii", "replace")
            if len(parents) > _REMEMBERED:  # of batches that were never handled
                parents.popitem(last=False)
            return event

        async def traced_handle(events: Sequence[E]) -> Applied:
            traces = Counter(parent for event in events if (parent := parents.get(id(event))) is not None)
            with self._processing(topic, traces):
                applied = await handle(events)
            for event in events:
                parents.pop(id(event), None)
            return applied

        return Decoding(traced_decode), traced_handle

    @contextmanager
    def _processing(self, topic: str, traces: Mapping[str, int]) -> Iterator[None]:
        with ExitStack() as spans:
            for parent, records in list(traces.items())[:_SPANS_OF_A_BATCH]:
                spans.enter_context(
                    self._tracer.start_as_current_span(
                        f"process {topic}",
                        context=self._propagator.extract({TRACEPARENT: parent}),
                        kind=SpanKind.CONSUMER,
                        attributes={
                            "messaging.system": "kafka",
                            "messaging.operation.name": "process",
                            "messaging.destination.name": topic,
                            "messaging.batch.message_count": records,
                        },
                    )
                )
            yield
