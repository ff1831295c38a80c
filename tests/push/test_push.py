"""What a producer sends, what it is told, and what is then in Kafka."""

import asyncio
import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC, NodeReading
from services.kernel.wire import decoder_for
from tests.integration.pipeline import Pipeline, records_of
from tests.push.pushing import Ingest, Producer, ended, known, new_producer, reading, report, revoke

decode = decoder_for(NodeReading)
NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}


async def identifiers(pipeline: Pipeline, topic: str = READINGS_TOPIC) -> list[str]:
    """Those of all records of the topic."""
    return [json.loads(record.value)["identifier"] for record in await records_of(pipeline.kafka, topic)]


async def test_accepted_readings_are_in_kafka_under_their_nodes_key(
    pipeline: Pipeline, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/v1/readings", json=[reading(1, "pool-a"), reading(2, "pool-a", extra="ignored")])
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "rejected": 0, "problems": []})
    found = {record.key: record for record in await records_of(pipeline.kafka, READINGS_TOPIC)}
    for node in (1, 2):
        record = found[f"gonka1{node:038}".encode()]
        assert decode(record).jobs_day == node
        assert dict(record.headers)["ce_source"] == b"/minegnk/pool-a"


async def test_an_earnings_report_is_in_its_topic(pipeline: Pipeline, client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/earnings", json=report(3, "pool-a"))).status_code == 202
    assert f"gonka1{3:038}" in await identifiers(pipeline, EARNINGS_TOPIC)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, json.dumps(reading(10, "pool-a")).encode()),
        (JSON, b" \n[" + json.dumps(reading(10, "pool-a")).encode() + b"]"),
        (NDJSON, b"\n" + json.dumps(reading(10, "pool-a")).encode() + b"\r\n\n"),
        (NDJSON | {"Content-Encoding": "gzip"}, gzip.compress(json.dumps(reading(10, "pool-a")).encode())),
        (JSON | {"Content-Type": "application/json; charset=utf-8"}, json.dumps([reading(10, "pool-a")]).encode()),
    ],
    ids=["object", "array", "lines", "gzip", "charset"],
)
async def test_every_form_of_a_body_is_taken(client: httpx.AsyncClient, headers: dict[str, str], body: bytes) -> None:
    answer = await client.post("/v1/readings", headers=headers, content=body)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)


def cloud_event(node: int, version: str = "v1") -> CloudEvent:
    attributes = {
        "specversion": "1.0",
        "type": f"minegnk.node.reading.{version}",
        "source": "/pool-a",
        "id": str(node),
        "datacontenttype": "application/json",
    }
    return CloudEvent(attributes, reading(node, "pool-a"))


async def test_cloudevents_are_taken_in_binary_structured_and_batched_mode(
    pipeline: Pipeline, client: httpx.AsyncClient
) -> None:
    binary, structured = to_binary_event(cloud_event(20)), to_structured_event(cloud_event(21))
    for message in (binary, structured):
        answer = await client.post("/v1/readings", headers=dict(message.headers), content=message.body)
        assert answer.status_code == 202, answer.text
    batch = b"[" + b",".join(to_structured_event(cloud_event(node)).body for node in (22, 23)) + b"]"
    answer = await client.post(
        "/v1/readings", headers={"Content-Type": "application/cloudevents-batch+json"}, content=batch
    )
    assert answer.json()["accepted"] == 2
    assert {f"gonka1{node:038}" for node in range(20, 24)} <= set(await identifiers(pipeline))


async def test_a_cloudevent_of_a_later_version_is_refused(client: httpx.AsyncClient) -> None:
    message = to_binary_event(cloud_event(24, "v2"))
    answer = await client.post("/v1/readings", headers=dict(message.headers), content=message.body)
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["code"] == "unsupported_version"


async def test_of_a_mixed_request_the_good_ones_are_taken_and_the_others_named(
    pipeline: Pipeline, client: httpx.AsyncClient
) -> None:
    items: list[Any] = [
        reading(30, "pool-a"),
        reading(31, "pool-a", jobs_day=-1),
        reading(32, "pool-a", observed_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat()),
        reading(33, "pool-b"),
        reading(34, "pool-a", identifier_type="operator"),
        {"identifier": "x"},
        7,
        reading(35, "pool-a"),
    ]
    answer = await client.post("/v1/readings", json=items)
    assert answer.status_code == 202
    told = answer.json()
    assert (told["accepted"], told["rejected"]) == (2, 6)
    assert [(each["index"], each["code"], each.get("field")) for each in told["problems"]] == [
        (1, "out_of_range", "jobs_day"),
        (2, "in_the_future", "observed_at"),
        (3, "other_source", "source"),
        (4, "identifier_type_mismatch", None),
        (5, "invalid_field", "identifier_type"),
        (6, "invalid_field", None),
    ]
    assert all(each["detail"] for each in told["problems"])
    there = await identifiers(pipeline)
    assert [f"gonka1{node:038}" in there for node in range(30, 36)] == [True, False, False, False, False, True]


async def test_a_line_that_is_no_json_spoils_no_other(client: httpx.AsyncClient) -> None:
    lines = [json.dumps(reading(40, "pool-a")), "{", json.dumps(reading(41, "pool-a"))]
    answer = await client.post("/v1/readings", headers=NDJSON, content="\n".join(lines).encode())
    assert answer.status_code == 202
    assert [(each["index"], each["code"]) for each in answer.json()["problems"]] == [(1, "undecodable")]


async def problem_of(client: httpx.AsyncClient, path: str = "/v1/readings", **request: Any) -> tuple[int, str]:
    """The status and code of an answer that must be a problem document."""
    answer = await client.post(path, **request)
    document = answer.json()
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert document["status"] == answer.status_code
    assert document["type"] == f"urn:minegnk:problem:{document['code']}"
    return answer.status_code, document["code"]


@pytest.mark.parametrize(
    ("headers", "body", "problem"),
    [
        (JSON, b"", (400, "empty")),
        (JSON, b"[]", (400, "empty")),
        (JSON, b"[1,", (400, "undecodable")),
        (JSON, b"[" * 100_000, (400, "undecodable")),
        (NDJSON, b"\n\n", (400, "empty")),
        ({"Content-Type": "text/plain"}, b"{}", (415, "unsupported_media_type")),
        ({}, b"{}", (415, "unsupported_media_type")),
        (JSON | {"Content-Encoding": "br"}, b"{}", (415, "unsupported_encoding")),
        (JSON | {"Content-Encoding": "gzip"}, b"{}", (400, "undecodable")),
        (JSON | {"Content-Encoding": "gzip"}, gzip.compress(b"{}")[:-4], (400, "undecodable")),
        (JSON | {"Content-Encoding": "gzip"}, gzip.compress(b"{}") + b"x", (400, "undecodable")),
        (JSON | {"Content-Encoding": "gzip"}, gzip.compress(b" " * 50_000_000), (413, "too_large")),
        (JSON, b" " * 200_001, (413, "too_large")),
        (NDJSON, b"1\n" * 501, (413, "too_many_items")),
        (JSON, b"{}", (422, "no_valid_event")),
    ],
    ids=lambda value: None if isinstance(value, tuple) else "-",
)
async def test_a_request_that_cannot_be_taken_gets_a_problem_that_says_why(
    client: httpx.AsyncClient, headers: dict[str, str], body: bytes, problem: tuple[int, str]
) -> None:
    assert await problem_of(client, headers=headers, content=body) == problem


async def test_other_paths_and_methods_get_problems_too(client: httpx.AsyncClient) -> None:
    assert await problem_of(client, "/v1/refresh", json={}) == (404, "not_found")
    answer = await client.get("/v1/readings")
    assert (answer.status_code, answer.json()["code"], answer.headers["Allow"]) == (405, "method_not_allowed", "POST")


async def test_a_body_that_does_not_come_ends_the_request(ingest: Ingest, producer: Producer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
    writer.write(
        b"POST /v1/readings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n"
        b"Authorization: " + producer.headers["Authorization"].encode() + b"\r\n\r\n["
    )
    status = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    assert b" 408 " in status


async def test_without_a_valid_key_nothing_is_published(pipeline: Pipeline, ingest: Ingest, producer: Producer) -> None:
    wrong_secret = producer.text[:-1] + ("A" if producer.text[-1] != "A" else "B")
    expired = await new_producer(pipeline.kafka, "pool-a", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    revoked = await new_producer(pipeline.kafka, "pool-a", revoked_at=datetime.now(UTC))
    marker = await new_producer(pipeline.kafka, "pool-a")
    await known(ingest, marker)  # and with it those before it
    async with httpx.AsyncClient(base_url=ingest.url) as client:
        for authorization in (
            None,
            "Bearer",
            "Bearer x",
            f"Basic {producer.text}",
            f"Bearer {wrong_secret}",
            f"Bearer {expired.text}",
            f"Bearer {revoked.text}",
            "Bearer mgnp_" + "0" * 32 + "_" + "A" * 43,
            "Bearer \xff\xfe",
        ):
            headers = {} if authorization is None else {b"Authorization": authorization.encode("latin-1")}
            answer = await client.post("/v1/readings", headers=headers, json=reading(50, "pool-a"))
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), authorization
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert f"gonka1{50:038}" not in await identifiers(pipeline)


async def test_a_key_of_one_source_publishes_as_no_other_and_of_one_kind_no_other(
    pipeline: Pipeline, ingest: Ingest
) -> None:
    other = await new_producer(pipeline.kafka, "pool-b", kinds=["readings"])
    await known(ingest, other)
    async with httpx.AsyncClient(base_url=ingest.url, headers=other.headers) as client:
        assert await problem_of(client, json=reading(60, "pool-a")) == (403, "other_source")
        assert await problem_of(client, "/v1/earnings", json=report(60, "pool-b")) == (403, "forbidden")
    assert f"gonka1{60:038}" not in [
        *await identifiers(pipeline),
        *await identifiers(pipeline, EARNINGS_TOPIC),
    ]


async def test_a_revoked_key_ends_while_ingest_runs(pipeline: Pipeline, ingest: Ingest) -> None:
    producer = await new_producer(pipeline.kafka, "pool-c")
    await known(ingest, producer)
    await revoke(pipeline.kafka, producer)
    await ended(ingest, producer)


async def test_above_its_rate_a_key_is_told_when_to_come_again_and_others_go_on(
    pipeline: Pipeline, ingest: Ingest, client: httpx.AsyncClient
) -> None:
    greedy = await new_producer(pipeline.kafka, "pool-d")
    await known(ingest, greedy)
    async with httpx.AsyncClient(base_url=ingest.url, headers=greedy.headers) as busy:
        body = b"1\n" * 500
        answers = [await busy.post("/v1/readings", headers=NDJSON, content=body) for _ in range(10)]
    told = [answer for answer in answers if answer.status_code == 429]
    assert len(told) >= 5, "at most two windows of 2,000 events each"
    assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in told)
    assert (await client.post("/v1/readings", json=reading(70, "pool-a"))).status_code == 202


async def test_a_repeated_request_changes_nothing_after_the_first(
    pipeline: Pipeline, client: httpx.AsyncClient
) -> None:
    worker = pipeline.start("cache")
    event = reading(80, "pool-a")
    for _ in range(3):
        assert (await client.post("/v1/readings", json=event)).status_code == 202
    await pipeline.drained(READINGS_TOPIC, seconds=60)
    rows = await pipeline.rows(
        "SELECT jobs_day, source, fetched_at FROM node_stats_cache JOIN nodes ON id = node_id WHERE identifier = $1",
        event["identifier"],
    )
    assert rows == [(80, "pool-a", datetime.fromisoformat(event["observed_at"]))]
    assert (await pipeline.state(READINGS_TOPIC)).dead_letters == 0
    worker.stop()
