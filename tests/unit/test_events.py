import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.errors import InvalidRecordError, Reason
from services.kernel.events import EarningsReport, NodeReading, RefreshRequest, SourceStatus, type_of
from services.kernel.wire import Headers, decoder_for, decoding_of, encode

WALLET = "gonka1qzmhx83xnamk0uqup3lxpf2te9karrwjm9cjh7"
APPENDED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Record(NamedTuple):
    value: bytes | None
    headers: Headers = ()
    timestamp: int = int(APPENDED.timestamp() * 1000)


def reading(**changes: Any) -> dict[str, Any]:
    return {
        "identifier": WALLET,
        "identifier_type": "wallet",
        "source": "hyperfusion",
        "observed_at": "2026-03-01T11:59:30Z",
        "status": "healthy",
    } | changes


def report(**changes: Any) -> dict[str, Any]:
    return {
        "identifier": WALLET,
        "identifier_type": "wallet",
        "source": "gonka_api",
        "kind": "epoch",
        "period": 53,
        "amount_ngonka": "48552031736571",
        "observed_at": "2026-03-01T11:59:30Z",
        "settled_at": "2026-03-01T11:00:00Z",
        "final": True,
    } | changes


def decode_reading(document: object, headers: Headers = ()) -> NodeReading:
    return decoder_for(NodeReading)(Record(json.dumps(document).encode(), headers))


def decode_report(document: object) -> EarningsReport:
    return decoder_for(EarningsReport)(Record(json.dumps(document).encode()))


def reason_of(document: object, headers: Headers = ()) -> Reason:
    with pytest.raises(InvalidRecordError) as caught:
        decode_reading(document, headers)
    return caught.value.reason


def test_an_event_survives_encoding_and_decoding() -> None:
    event = decode_reading(reading(voting_weight="12.5", jobs_day=3, epoch=7, display_name=" a  b "))
    record = encode(event)
    assert record.topic == "node.readings.v1"
    assert record.key == WALLET.encode()
    assert decoder_for(NodeReading)(Record(record.value, record.headers)) == event
    assert event.display_name == "a b"


def test_encoded_events_are_binary_cloudevents() -> None:
    headers = dict(encode(decode_reading(reading())).headers)
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_type"] == b"minegnk.node.reading.v1"
    assert headers["content-type"] == b"application/json"


def test_structured_cloudevents_are_accepted() -> None:
    envelope = {"specversion": "1.0", "id": "1", "source": "/x", "type": "minegnk.node.reading.v1", "data": reading()}
    event = decode_reading(envelope, [("content-type", b"application/cloudevents+json; charset=utf-8")])
    assert event.identifier == WALLET


def test_unknown_fields_are_ignored() -> None:
    assert decode_reading(reading(colour="blue")).status == "healthy"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"observed_at": "2026-03-01T12:05:01Z"}, Reason.IN_THE_FUTURE),
        ({"observed_at": "1999-12-31T23:59:59Z"}, Reason.OUT_OF_RANGE),
        ({"observed_at": "2026-03-01T11:59:30"}, Reason.INVALID_FIELD),
        ({"identifier_type": "validator"}, Reason.IDENTIFIER_TYPE_MISMATCH),
        ({"identifier": "", "identifier_type": "node_id"}, Reason.INVALID_FIELD),
        ({"identifier": "a\x00b", "identifier_type": "node_id"}, Reason.INVALID_FIELD),
        ({"identifier": "x" * 256, "identifier_type": "node_id"}, Reason.INVALID_FIELD),
        ({"source": "Hyper Fusion"}, Reason.INVALID_FIELD),
        ({"status": "fine"}, Reason.INVALID_FIELD),
        ({"jobs_day": -1}, Reason.OUT_OF_RANGE),
        ({"jobs_day": 2**31}, Reason.OUT_OF_RANGE),
        ({"jobs_day": "3"}, Reason.INVALID_FIELD),
        ({"voting_weight": "NaN"}, Reason.OUT_OF_RANGE),
        ({"voting_weight": "Infinity"}, Reason.OUT_OF_RANGE),
        ({"voting_weight": 1e300}, Reason.OUT_OF_RANGE),
        ({"voting_weight": "999999999999.999999995"}, Reason.OUT_OF_RANGE),
        ({"tokens_per_sec": "99999999.995"}, Reason.OUT_OF_RANGE),
    ],
)
def test_a_reading_that_can_never_be_applied_is_refused_with_its_reason(
    changes: dict[str, Any], expected: Reason
) -> None:
    assert reason_of(reading(**changes)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, Reason.TOMBSTONE), (b"", Reason.UNDECODABLE), (b"{", Reason.UNDECODABLE), (b"\xff", Reason.UNDECODABLE),
     (b"[]", Reason.INVALID_FIELD), (b"null", Reason.INVALID_FIELD), (b"[" * 100_000, Reason.INVALID_FIELD)],
)  # fmt: skip
def test_bytes_that_are_no_event_are_refused_with_their_reason(value: bytes | None, expected: Reason) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        decoder_for(NodeReading)(Record(value))
    assert caught.value.reason == expected


@pytest.mark.parametrize(
    "headers",
    [[("ce_specversion", b"2.0")], [("ce_specversion", b"1.0"), ("ce_type", b"minegnk.node.reading.v2")],
     [("ce_type", b"minegnk.node.earnings.v1")]],
)  # fmt: skip
def test_unknown_versions_and_types_are_refused(headers: Headers) -> None:
    assert reason_of(reading(), headers) == Reason.UNSUPPORTED_VERSION


def test_a_header_without_a_value_is_no_header() -> None:
    headers: Any = [("content-type", None), ("ce_type", None), ("ce_specversion", None)]
    assert decode_reading(reading(), headers).identifier == WALLET


def test_the_future_is_judged_by_the_records_own_time() -> None:
    old = Record(json.dumps(reading()).encode(), timestamp=int((APPENDED - timedelta(minutes=10)).timestamp() * 1000))
    with pytest.raises(InvalidRecordError, match="ahead of the record"):
        decoder_for(NodeReading)(old)


@pytest.mark.parametrize(
    "bad",
    [
        json.dumps(reading(observed_at=(APPENDED + timedelta(minutes=6)).isoformat())).encode(),
        json.dumps(reading(jobs_day=-1)).encode(),
        json.dumps(reading(jobs_day="many")).encode(),
        b"no JSON",
        b"\xff",
        b"[" * 100_000,
    ],
    ids=["ahead of its time", "out of range", "of another type", "no JSON", "no UTF-8", "nested"],
)
def test_many_at_once_have_the_verdicts_that_they_have_one_by_one(bad: bytes) -> None:
    decode, plain = decoding_of(NodeReading)
    assert plain
    good = [json.dumps(reading(jobs_day=jobs)).encode() for jobs in (1, 2)]
    timestamp = Record(b"").timestamp
    assert plain.decode(good, timestamp) == [decode(Record(value)) for value in good]
    for values in ([*good, bad], [bad, *good]):
        assert plain.decode(values, timestamp) is None
    with pytest.raises(InvalidRecordError):
        decode(Record(bad))


def test_many_reports_at_once_are_judged_by_each_of_their_times() -> None:
    decode, plain = decoding_of(EarningsReport)
    assert plain
    late = (APPENDED + timedelta(minutes=6)).isoformat()
    tomorrow = (APPENDED + timedelta(days=1)).date().isoformat()
    timestamp = Record(b"").timestamp
    good = json.dumps(report()).encode()
    assert plain.decode([good], timestamp) == [decode(Record(good))]
    for change in {"settled_at": late}, {"observed_at": late}, {"kind": "day", "period": tomorrow}:
        bad = json.dumps(report(**change)).encode()
        assert plain.decode([good, bad], timestamp) is None
        with pytest.raises(InvalidRecordError, match="ahead of the record"):
            decode(Record(bad))


@pytest.mark.parametrize(
    "observed_at", ["9999-12-31T23:59:59-23:59", "9999-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"]
)
def test_a_time_without_a_utc_is_refused_whatever_the_records_own_time_is(observed_at: str) -> None:
    record = Record(json.dumps(reading(observed_at=observed_at)).encode(), timestamp=10**18)
    with pytest.raises(InvalidRecordError) as caught:
        decoder_for(NodeReading)(record)
    assert caught.value.reason == Reason.OUT_OF_RANGE


def test_numbers_are_rounded_into_their_columns_half_away_from_zero() -> None:
    event = decode_reading(reading(voting_weight="1.000000005", tokens_per_sec="2.345"))
    assert event.voting_weight == Decimal("1.00000001")
    assert event.tokens_per_sec == Decimal("2.35")


def test_texts_are_cut_to_their_columns_and_never_refused() -> None:
    event = decode_reading(reading(active_model="m" * 300, display_name="é" * 200, gpu_type="a\x00b", region=" \t "))
    assert event.active_model == "m" * 255
    assert event.display_name == "é" * 100
    assert event.gpu_type == "a b"
    assert event.region is None


def test_times_with_an_offset_are_the_same_moment() -> None:
    assert decode_reading(reading(observed_at="2026-03-01T13:59:30+02:00")).observed_at == datetime(
        2026, 3, 1, 11, 59, 30, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("gonka1abc", "wallet"),
        ("gonkavaloper1abc", "operator"),
        ("gonkavalcons1abc", "validator"),
        ("gonka1abc/node1", "node_id"),
        ("rig-7", None),
    ],
)
def test_an_identifiers_form_gives_its_type(identifier: str, expected: str | None) -> None:
    assert type_of(identifier) == expected


def test_unknown_forms_keep_the_type_of_the_event() -> None:
    assert decode_reading(reading(identifier="rig-7", identifier_type="operator")).identifier_type == "operator"


@pytest.mark.parametrize("amount", [48552031736571, "48552031736571", "+48552031736571"])
def test_amounts_are_exact_integers_as_strings_or_numbers(amount: object) -> None:
    assert decode_report(report(amount_ngonka=amount)).amount == 48552031736571


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"amount_ngonka": 1.0}, Reason.INVALID_FIELD),
        ({"amount_ngonka": "1e9"}, Reason.INVALID_FIELD),
        ({"amount_ngonka": "١٢"}, Reason.INVALID_FIELD),
        ({"amount_ngonka": 10**18 + 1}, Reason.OUT_OF_RANGE),
        ({"amount_ngonka": str(10**18 + 1)}, Reason.OUT_OF_RANGE),
        ({"work_ngonka": 1, "reward_ngonka": 2}, Reason.INVALID_FIELD),
        ({"settled_at": None}, Reason.INVALID_FIELD),
        ({"settled_at": "2026-03-01T13:00:00Z"}, Reason.IN_THE_FUTURE),
        ({"period": "2026-01-01"}, Reason.INVALID_FIELD),
        ({"period": -1}, Reason.OUT_OF_RANGE),
        ({"kind": "day", "period": 53}, Reason.INVALID_FIELD),
        ({"kind": "day", "period": "2026-02-30"}, Reason.INVALID_FIELD),
        ({"kind": "week"}, Reason.INVALID_FIELD),
        ({"kind": "day", "period": "2026-03-02"}, Reason.IN_THE_FUTURE),
        ({"kind": "total", "period": "9999-12-31"}, Reason.IN_THE_FUTURE),
    ],
)
def test_a_report_that_can_never_be_applied_is_refused_with_its_reason(
    changes: dict[str, Any], expected: Reason
) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        decode_report(report(**changes))
    assert caught.value.reason == expected


def test_a_split_that_adds_up_is_kept() -> None:
    event = decode_report(report(amount_ngonka=5, work_ngonka="2", reward_ngonka=3))
    assert (event.work_ngonka, event.reward_ngonka) == (2, 3)


@pytest.mark.parametrize(
    ("kind", "period", "number"), [("epoch", "53", 53), ("epoch", 53, 53), ("day", "2026-02-03", 20260203)]
)
def test_periods_have_one_number(kind: str, period: object, number: int) -> None:
    assert decode_report(report(kind=kind, period=period)).period_number == number


def test_control_events_survive_encoding_and_decoding() -> None:
    request = RefreshRequest(source="gonka_api", requested_at=APPENDED, requested_by="api", epoch=5)
    record = encode(request)
    assert record.key == b"gonka_api"
    assert decoder_for(RefreshRequest)(Record(record.value, record.headers)) == request
    status = SourceStatus(
        source="hyperfusion",
        kind="hyperfusion",
        reported_at=APPENDED,
        preference_seconds=600,
        earnings_order=20,
        probes_health=True,
        poll_interval_seconds=30,
        last_error="x" * 900,
    )
    assert decoder_for(SourceStatus)(Record(encode(status).value)).last_error == "x" * 500


def status(**changes: Any) -> dict[str, Any]:
    return {
        "source": "hyperfusion",
        "kind": "hyperfusion",
        "reported_at": "2026-03-01T11:59:30Z",
        "preference_seconds": 600,
        "earnings_order": 20,
        "probes_health": True,
        "poll_interval_seconds": 60,
    } | changes


@pytest.mark.parametrize("total", [1, "1", 275_403_000_000_001, "275403000000001", 10**18])
def test_a_sources_total_of_an_epoch_is_a_whole_number_of_ngonka(total: Any) -> None:
    value = json.dumps(status(total_epoch=7, total_ngonka=total)).encode()
    event = decoder_for(SourceStatus)(Record(value))
    assert (event.total_epoch, event.total_ngonka) == (7, int(total))
    assert decoder_for(SourceStatus)(Record(encode(event).value)) == event


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"total_epoch": 7}, Reason.INVALID_FIELD),
        ({"total_ngonka": 7}, Reason.INVALID_FIELD),
        ({"total_epoch": 7, "total_ngonka": 0}, Reason.OUT_OF_RANGE),
        ({"total_epoch": 7, "total_ngonka": -1}, Reason.OUT_OF_RANGE),
        ({"total_epoch": 7, "total_ngonka": 10**18 + 1}, Reason.OUT_OF_RANGE),
        ({"total_epoch": 7, "total_ngonka": 1.5}, Reason.INVALID_FIELD),
        ({"total_epoch": 7, "total_ngonka": "1.5"}, Reason.INVALID_FIELD),
        ({"total_epoch": -1, "total_ngonka": 7}, Reason.OUT_OF_RANGE),
        ({"total_epoch": 2**31, "total_ngonka": 7}, Reason.OUT_OF_RANGE),
    ],
)
def test_a_total_without_its_epoch_or_that_is_no_amount_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(InvalidRecordError) as refused:
        decoder_for(SourceStatus)(Record(json.dumps(status(**changes)).encode()))
    assert refused.value.reason is reason


@given(st.binary(max_size=200))
def test_no_bytes_break_the_decoder(value: bytes) -> None:
    for event_class in (NodeReading, EarningsReport, RefreshRequest, SourceStatus):
        with pytest.raises(InvalidRecordError):
            decoder_for(event_class)(Record(value))
