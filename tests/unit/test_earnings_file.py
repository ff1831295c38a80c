"""Files of earnings: which row is which event, and what is said of the others."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.cli.earnings_file import count_lines, opened, read_reports
from services.kernel.errors import ConfigurationError, InvalidRecordError
from services.kernel.events import EarningsReport
from services.kernel.money import ngonka_of_gnk

NODE = "gonka1qzmhx83xnamk0uqup3lxpf2te9karrwjm9cjh7"
HEADER = "identifier,identifier_type,source,kind,period,amount_ngonka,settled_at,final"
GOOD = f"{NODE},wallet,mine,epoch,7,3805,2026-03-01T12:00:00Z,true"


def read(directory: Path, content: str | bytes) -> dict[int, EarningsReport | str]:
    """By line: the event, or what is wrong."""
    path = directory / "earnings"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with opened(path) as file:
        return {
            line: str(event) if isinstance(event, InvalidRecordError) else event  # type: ignore[misc]
            for line, event in read_reports(file)
        }


def amounts(found: dict[int, EarningsReport | str]) -> dict[int, int | str]:
    return {line: event if isinstance(event, str) else event.amount for line, event in found.items()}


def test_a_row_becomes_the_event_that_it_says(tmp_path: Path) -> None:
    header = f"{HEADER},work_ngonka,reward_ngonka,settled_exact,claimed,observed_at"
    found = read(tmp_path, f"{header}\n{GOOD},5,3800,1,FALSE,2026-03-02T00:00:00+01:00\n")
    assert found == {
        2: EarningsReport(
            identifier=NODE,
            identifier_type="wallet",
            source="mine",
            kind="epoch",
            period=7,
            amount_ngonka=3805,
            work_ngonka=5,
            reward_ngonka=3800,
            settled_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
            settled_exact=True,
            final=True,
            claimed=False,
            observed_at=datetime(2026, 3, 1, 23, tzinfo=UTC),
        )
    }


def test_a_row_without_observed_at_counts_as_observed_when_its_epoch_settled(tmp_path: Path) -> None:
    (report,) = read(tmp_path, f"{HEADER}\n{GOOD}\n").values()
    assert isinstance(report, EarningsReport)
    assert report.observed_at == report.settled_at == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert (report.settled_exact, report.claimed) == (False, None)


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n{GOOD}",
        f"\ufeff{HEADER}\r\n{GOOD}\r\n",
        f"\n{HEADER}\n\n\n{GOOD}\n\n",
        f"{HEADER}\n{GOOD.replace('mine', chr(34) + 'mine' + chr(34))}\n",
        gzip.compress(f"{HEADER}\n{GOOD}\n".encode()),
        gzip.compress(f"\ufeff{HEADER}\n{GOOD}\n".encode()),
        HEADER.replace(",", " , ") + "\n" + GOOD.replace(",", " , "),
    ],
    ids=["no end of line", "BOM and CRLF", "empty lines", "quotes", "gzip", "gzip with BOM", "spaces"],
)
def test_forms_of_one_file_say_the_same(tmp_path: Path, content: str | bytes) -> None:
    assert list(amounts(read(tmp_path, content)).values()) == [3805]


@pytest.mark.parametrize("begin", ["", "\ufeff", "\n\n"])
def test_json_lines_are_the_events_themselves(tmp_path: Path, begin: str) -> None:
    line = (
        f'{{"identifier":"{NODE}","identifier_type":"wallet","source":"mine","kind":"day","period":"2026-03-01",'
        '"amount_ngonka":"12","observed_at":"2026-03-02T00:00:00Z","of no concern":[1]}'
    )
    found = read(tmp_path, f"{begin}{line}\r\n\r\n{{bad\n{line}\n")
    first = 1 + begin.count("\n")
    assert {line: type(event) for line, event in found.items()} == {
        first: EarningsReport,
        first + 2: str,
        first + 3: EarningsReport,
    }


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (GOOD.replace("3805", "3.5"), "invalid_field: amount_ngonka: not a whole number of ngonka: '3.5'"),
        (GOOD.replace("3805", "3,805"), "undecodable: 9 cells, but 8 columns"),
        (GOOD.replace("3805", "1" + 17 * "0" + "1"), "out_of_range: amount_ngonka: beyond"),
        (GOOD.replace("3805", ""), "invalid_field: Object missing required field `amount_ngonka`"),
        (GOOD.replace("true", "yes"), "invalid_field: final: neither true nor false: 'yes'"),
        (GOOD.replace("epoch", "era"), "invalid_field: Invalid enum value 'era' - at `$.kind`"),
        (GOOD.replace(",7,", ",seven,"), "invalid_field: period: not an epoch's number: 'seven'"),
        (GOOD.replace("T12:00:00Z", "T12:00:00"), "invalid_field: Expected `datetime` with a timezone component"),
        (GOOD.replace("2026-03", "2226-03"), "in_the_future: observed_at"),
        (GOOD.replace("2026-03-01T12:00:00Z", ""), "invalid_field: Object missing required field `observed_at`"),
        (GOOD.replace("wallet", "validator"), f"identifier_type_mismatch: {NODE} is a wallet"),
        (GOOD.replace("mine", "Mine!"), "invalid_field: source: 1 to 50 of a-z"),
        (GOOD.replace("mine", '"mine"x'), "undecodable: not CSV: ',' expected after '\"'"),
    ],
)
def test_a_bad_row_is_named_with_its_field_and_reason_and_loses_no_other(tmp_path: Path, row: str, said: str) -> None:
    found = amounts(read(tmp_path, f"{HEADER}\n{GOOD}\n{row}\n{GOOD}\n"))
    assert (found[2], found[4]) == (3805, 3805)
    assert str(found[3]).startswith(said), found[3]


def test_bytes_that_are_not_utf8_spoil_their_row_only(tmp_path: Path) -> None:
    content = f"{HEADER}\n{GOOD}\n".encode() + GOOD.encode().replace(b"mine", b"m\xffne") + f"\n{GOOD}".encode()
    assert amounts(read(tmp_path, content)) == {2: 3805, 3: "undecodable: not UTF-8", 4: 3805}


def test_a_quote_that_is_not_closed_is_told_with_all_the_lines_it_swallows(tmp_path: Path) -> None:
    found = amounts(read(tmp_path, f'{HEADER}\n{GOOD}\n"{GOOD}\n{GOOD}\n{GOOD}\n'))
    assert found == {2: 3805, 3: "undecodable: not CSV: unexpected end of data (up to line 5)"}


def test_an_endless_field_ends_where_reading_goes_on(tmp_path: Path) -> None:
    found = amounts(read(tmp_path, f'{HEADER}\n"{200_000 * "x"}",\n{GOOD}\n'))
    assert str(found[2]).startswith("undecodable: not CSV: field larger than")
    assert found[3] == 3805


@pytest.mark.parametrize(
    ("text", "exactly"),
    [
        ("0.000003805", 3805),
        ("12", 12 * 10**9),
        ("-1.5", -(15 * 10**8)),
        ("+0.1", 10**8),
        ("999999999.999999999", 10**18 - 1),
        ("9007199.254740993", 9_007_199_254_740_993),  # the first integer that a float cannot hold
    ],
)
def test_amounts_in_gnk_are_converted_exactly(tmp_path: Path, text: str, exactly: int) -> None:
    assert ngonka_of_gnk(text) == exactly
    header = HEADER.replace("amount_ngonka", "amount_gnk")
    assert amounts(read(tmp_path, f"{header}\n{GOOD.replace('3805', text)}\n")) == {2: exactly}


@pytest.mark.parametrize("text", ["1e-9", "0.0000000001", "1,5", ".5", "5.", "1 000", "NaN", "", "٣", "1.5\n"])
def test_what_is_no_exact_number_of_gnk_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a decimal number of GNK"):
        ngonka_of_gnk(text)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("", "names no column 'identifier'"),
        (GOOD, "names no column 'identifier'"),
        (HEADER.replace("source,", ""), "names no column 'source'"),
        (HEADER.replace("settled_at", "setled_at"), "unknown column 'setled_at'"),
        (HEADER + ",final", "the column 'final' twice"),
        (HEADER + ",amount_gnk", "either amount_ngonka or amount_gnk"),
        (HEADER.replace("amount_ngonka", "work_ngonka"), "either amount_ngonka or amount_gnk"),
        (HEADER.replace(",", ";"), "names no column 'identifier'"),
        ('"open', "names no column 'identifier'"),
    ],
)
def test_a_header_that_does_not_say_what_the_columns_are(tmp_path: Path, header: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        read(tmp_path, f"{header}\n{GOOD}\n" if header else "")


@pytest.mark.parametrize("spoil", [lambda whole: whole[:-20], lambda whole: whole[:20] + b"\xff" * 20 + whole[40:]])
def test_a_damaged_gzip_file_is_a_sentence(tmp_path: Path, spoil: object) -> None:
    whole = gzip.compress((f"{HEADER}\n" + f"{GOOD}\n" * 10).encode())
    with pytest.raises(ConfigurationError, match="is damaged or cut short"):
        read(tmp_path, spoil(whole))  # type: ignore[operator]


def test_a_missing_file_and_a_folder_are_sentences(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"), opened(path):
            pass


@pytest.mark.parametrize(("content", "lines"), [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2)])
def test_lines_are_counted_with_the_last_one(tmp_path: Path, content: str, lines: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content.encode()))
    with opened(path) as file:
        assert count_lines(file) == lines
