from datetime import UTC, datetime, timedelta

import pytest

from services.cli.times import moment
from services.kernel.errors import ConfigurationError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-02-28T10:30:00Z", datetime(2026, 2, 28, 10, 30, tzinfo=UTC)),
        ("2026-02-28T10:30:00.250+02:00", datetime(2026, 2, 28, 8, 30, 0, 250_000, tzinfo=UTC)),
        ("2026-02-28 10:30", datetime(2026, 2, 28, 10, 30, tzinfo=UTC)),
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
        ("0s", NOW),
        ("90s", NOW - timedelta(seconds=90)),
        ("15m", NOW - timedelta(minutes=15)),
        ("15min", NOW - timedelta(minutes=15)),
        (" 2 h ", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("1w", NOW - timedelta(weeks=1)),
    ],
)
def test_a_time_is_iso_8601_in_utc_or_an_age(text: str, meant: datetime) -> None:
    found = moment(text, NOW)
    assert found == meant
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "-2h",
        "2.5h",
        "2y",
        "2h3",
        "2026-02-30",
        "99999999999d",
        "0001-01-01T00:00:00+05:00",
        "9" * 5000,
    ],
)
def test_anything_else_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no time: write it like 2026-03-01T12:00:00Z .* 2h or 3d\.$"):
        moment(text, NOW)
