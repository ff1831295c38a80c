"""What an operator sees of a letter, whatever its producer wrote."""

import base64
import json
from typing import Any

from services.cli import letter_views as views
from services.kernel.letters import Letter, Mark, Place, State
from services.kernel.wire import OutgoingRecord

HOSTILE = "\x1b[2J[red]\n\x9b0m\u202e"


def letter(offset: int = 7, reason: str = "undecodable", error: str = "not JSON", mark: Mark | None = None) -> Letter:
    identity = Place("node.readings.v1", 3, offset)
    copies = [Place("node.readings.v1.dlq", 1, 9)]
    return Letter(identity, 1_772_366_400_250, 1_772_366_399_000, reason, error, b"k", False, copies, mark)


def original(value: bytes | None, key: bytes | None = b"k", header: bytes | None = b"t") -> OutgoingRecord:
    headers: list[Any] = [("trace", header)]
    return OutgoingRecord("node.readings.v1", key, value, headers)


def lines(letter: Letter, record: OutgoingRecord | None) -> list[str]:
    return list(views.whole(letter, record))


def test_what_could_steer_a_terminal_reaches_it_escaped() -> None:
    table = "\n".join(views.table([letter(error=HOSTILE, reason=HOSTILE)], with_state=True))
    whole = "\n".join(lines(letter(error=HOSTILE), original(HOSTILE.encode(), HOSTILE.encode(), HOSTILE.encode())))
    for text in (table, whole):
        assert "\\x1b[2J[red]\\n\\x9b0m\\u202e" in text
        assert not {"\x1b", "\x9b", "\u202e"} & set(text)


def test_the_table_aligns_its_columns_and_cuts_only_keys_and_errors() -> None:
    long = letter(offset=123_456_789, reason="identifier_type_mismatch", error="e" * 200)
    long.key = b"k" * 64
    assert list(views.table([letter(), long], with_state=False)) == [
        "topic             partition  offset     when (UTC)           key                       "
        "reason                    error",
        "node.readings.v1  3          7          2026-03-01 12:00:00  k                         "
        "undecodable               not JSON",
        f"node.readings.v1  3          123456789  2026-03-01 12:00:00  {'k' * 23}…  "
        f"identifier_type_mismatch  {'e' * 79}…",
    ]


def test_json_is_shown_with_a_field_a_line_and_numbers_as_they_were_written() -> None:
    value = b'{"jobs_day":1e400,"jobs_day":2.50,"name":"\xc3\xa9\xc2\x9b"}'
    shown = lines(letter(), original(value))
    assert shown[shown.index(f"value      {len(value)} bytes") + 1 :] == [
        "{",
        '  "jobs_day": 1e400,',
        '  "jobs_day": 2.50,',
        '  "name": "é\\x9b"',
        "}",
    ]


def test_what_is_not_json_is_shown_as_a_hex_dump() -> None:
    shown = lines(letter(), original(b'{"identifier": \xff}'))
    assert shown[-2:] == [
        '00000000  7b 22 69 64 65 6e 74 69 66 69 65 72 22 3a 20 ff  {"identifier": .',
        "00000010  7d                                               }",
    ]
    assert lines(letter(), original(b"[" * 100_000))[-1].startswith("00018690"), "nested deeper than a parser goes"


def test_a_missing_value_and_a_missing_record_are_told_apart() -> None:
    assert lines(letter(), original(None))[-1] == "value      none"
    assert "does not have the record any more" in lines(letter(), None)[-1]


def test_as_json_text_stays_text_and_bytes_become_base64() -> None:
    text = views.as_object(letter(), original("é".encode(), None, None))
    assert (text["value"], text["key"], text["headers"]) == ("é", None, [{"name": "trace", "value": None}])
    binary = json.loads(json.dumps(views.as_object(letter(), original(b"\xff", b"\xfe"))))
    assert base64.b64decode(binary["value_base64"]) == b"\xff"
    assert base64.b64decode(binary["key_base64"]) == b"\xfe"
    assert not {"value", "key"} & set(binary)
    assert (binary["rejected_at"], binary["recorded_at"]) == (
        "2026-03-01T12:00:00.250+00:00",
        "2026-03-01T11:59:59.000+00:00",
    )
    gone = views.as_object(letter(), None)
    assert (gone["value"], gone["key"], gone["headers"]) == (None, "k", [])


def test_the_summary_counts_open_letters_by_reason_and_done_ones_by_state() -> None:
    done = [Mark(Place("node.readings.v1", 3, 7), state, 0) for state in (State.RETRIED, State.DROPPED, State.RETRIED)]
    letters = [letter(reason="tombstone"), letter(), letter(), *(letter(mark=mark) for mark in done)]
    assert views.summary(letters) == "3 letters open: 2 undecodable, 1 tombstone; 1 dropped; 2 retried"
    assert views.summary([letter(mark=done[0])]) == "0 letters open; 1 retried"
