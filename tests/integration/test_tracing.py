"""Traces, as a collector gets them: one from a source's poll to the rows that it became."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from services.kernel.events import READINGS_TOPIC, NodeReading
from services.kernel.wire import encode
from services.simulator.app import running
from services.simulator.world import WorldSettings
from tests.integration.pipeline import Pipeline, free_port, until

pytestmark = pytest.mark.integration


class Span(NamedTuple):
    service: str
    name: str
    trace: bytes
    id: bytes
    parent: bytes
    records: int | None


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP and keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        super().__init__(("127.0.0.1", 0), _Taker)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Taker(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in request.resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    counts = {each.key: each.value.int_value for each in span.attributes}
                    self.server.spans.append(
                        Span(
                            named["service.name"],
                            span.name,
                            span.trace_id,
                            span.span_id,
                            span.parent_span_id,
                            counts.get("messaging.batch.message_count"),
                        )
                    )
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


async def test_one_trace_leads_from_the_poll_to_the_rows(
    pipeline: Pipeline, collector: Collector, tmp_path: Path, no_rows: None
) -> None:
    sources = tmp_path / "sources.toml"
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    hosts = 3
    async with running(WorldSettings(hosts=hosts, days=2, tracker_cadence_seconds=1)) as simulator:
        sources.write_text(
            f'[[sources]]\nname = "tracker"\nkind = "hyperfusion"\nbase_urls = ["{simulator.base_url}"]\n'
            "poll_interval = 1\nrequests_per_minute = 600\nallow_private = true\n"
        )
        pipeline.start("cache", **variables)
        pipeline.start("ingest", MINEGNK_SOURCES_FILE=str(sources), **variables)

        def processed(publish: Span) -> list[Span]:
            """A poll's records may lie in several partitions, and come in several batches."""
            spans = list(collector.spans)
            return [span for span in spans if span.name == f"process {READINGS_TOPIC}" and span.parent == publish.id]

        def whole() -> list[Span]:
            """The publications all of whose records are known to have become rows, with the poll before them."""
            spans = list(collector.spans)
            known = {span.id for span in spans}
            return [
                span
                for span in spans
                if span.parent in known and span.records == sum(each.records or 0 for each in processed(span))
            ]

        async def any_whole() -> bool:
            return bool(whole())

        await until(any_whole, "a trace that has come whole")
        pipeline.stop_all()

    by_id = {span.id: span for span in collector.spans}
    publish = whole()[0]
    process = processed(publish)[0]
    poll = by_id[publish.parent]
    assert [(span.service, span.name) for span in (poll, publish, process)] == [
        ("minegnk.ingest", "poll tracker"),
        ("minegnk.ingest", "publish"),
        ("minegnk.cache", f"process {READINGS_TOPIC}"),
    ]
    assert {poll.trace, publish.trace, process.trace} == {poll.trace}
    assert poll.parent == b""
    assert publish.records == hosts
    ((rows,),) = await pipeline.rows("SELECT count(*) FROM node_stats_cache WHERE status IS NOT NULL")
    assert rows == hosts


async def test_a_collector_that_is_away_delays_neither_records_nor_the_stop(pipeline: Pipeline) -> None:
    reading = NodeReading(
        identifier="gonka1a", identifier_type="wallet", source="s", observed_at=datetime.now(UTC), status="healthy"
    )
    traced = [("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
    await pipeline.send([record._replace(headers=[*record.headers, *traced]) for record in [encode(reading)]])
    worker = pipeline.start("cache", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}")
    await pipeline.drained(READINGS_TOPIC)
    assert (await pipeline.state(READINGS_TOPIC)).dead_letters == 0
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 5
