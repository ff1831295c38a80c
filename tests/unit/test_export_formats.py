import csv
import io
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from services.cli.export_formats import JsonLinesWriter
from services.kernel.columns import Column, CsvWriter, Kind, rfc3339, spreadsheet_safe
from services.kernel.money import digits

COLUMNS = (
    Column("node", Kind.FREE_TEXT),
    Column("date", Kind.DATE),
    Column("amount_gnk", Kind.GNK_8),
    Column("amount_ngonka", Kind.NGONKA),
    Column("source", Kind.TEXT),
    Column("periods", Kind.TEXTS),
    Column("settled_at", Kind.TIMES),
    Column("observed_at", Kind.TIME),
    Column("final", Kind.YES_NO),
)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROW = (
    'gonka1a,"b"\nc',
    date(2026, 3, 1),
    Decimal("0.00000001"),
    Decimal(-10),
    "gonka_api",
    ["51", "52"],
    [NOON, NOON + timedelta(microseconds=5)],
    NOON,
    True,
    "beyond the columns",
)
UNKNOWN = ("gonka1x", date(2026, 3, 2), Decimal("0E-8"), *[None] * 6)


def written(writer: type[CsvWriter] | type[JsonLinesWriter], *rows: Any) -> str:
    out = io.BytesIO()
    target = writer(out, COLUMNS)
    target.write(rows)
    target.close()
    return out.getvalue().decode()


def test_csv_is_rfc_4180_with_a_header() -> None:
    assert written(CsvWriter, ROW, UNKNOWN) == (
        "node,date,amount_gnk,amount_ngonka,source,periods,settled_at,observed_at,final\r\n"
        '"gonka1a,""b""\nc",2026-03-01,0.00000001,-10,gonka_api,51 52,'
        "2026-03-01T12:00:00Z 2026-03-01T12:00:00.000005Z,2026-03-01T12:00:00Z,true\r\n"
        "gonka1x,2026-03-02,0.00000000,,,,,,\r\n"
    )


def test_csv_reads_back_as_it_was() -> None:
    header, first, _ = csv.reader(io.StringIO(written(CsvWriter, ROW, UNKNOWN), newline=""))
    assert (len(header), first[0]) == (9, ROW[0])


def test_an_amount_in_json_is_a_string_and_what_is_not_known_is_null() -> None:
    first, second = map(json.loads, written(JsonLinesWriter, ROW, UNKNOWN).splitlines())
    assert first == {
        "node": ROW[0],
        "date": "2026-03-01",
        "amount_gnk": "0.00000001",
        "amount_ngonka": "-10",
        "source": "gonka_api",
        "periods": ["51", "52"],
        "settled_at": ["2026-03-01T12:00:00Z", "2026-03-01T12:00:00.000005Z"],
        "observed_at": "2026-03-01T12:00:00Z",
        "final": True,
    }
    assert second == dict.fromkeys(first) | {"node": "gonka1x", "date": "2026-03-02", "amount_gnk": "0.00000000"}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", '=HYPERLINK("x")'])
def test_text_that_a_spreadsheet_would_calculate_stands_behind_an_apostrophe(text: str) -> None:
    assert spreadsheet_safe(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "gonka1a", "a=b", "'quoted", "5-node", "Ærø"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert spreadsheet_safe(text) == text


@pytest.mark.parametrize("text", ["0.00000001", "0.00000000", "-0.00000010", "999999999999.99999999", "1000000000000"])
def test_a_decimal_has_all_its_digits_and_no_exponent(text: str) -> None:
    assert digits(Decimal(text)) == text


def test_a_moment_is_written_in_utc_whatever_its_zone() -> None:
    assert rfc3339(NOON.astimezone(timezone(timedelta(hours=-5, minutes=-30)))) == "2026-03-01T12:00:00Z"
