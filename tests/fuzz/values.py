"""Values at the edges, as raw JSON: what a field may be replaced with. Some of it is deliberately no JSON at all."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

Pool = Callable[[Random, datetime], bytes]
"""Draws a raw JSON value; the moment is the one at which the record is appended."""

INTEGERS = (
    "0", "-0", "1", "-1", "7", "65535", "2147483647", "2147483648", "-2147483648", "4294967296", "999999999999999999",
    "1000000000000000000", "1000000000000000001", "-1000000000000000000", "-1000000000000000001", "9223372036854775807",
    "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615",
    "18446744073709551616", "1.0", "1e5", "1E2", "1e400", "1e999999", "-1e999999", "1e-999999", "1" + "0" * 5000,
    "-" + "9" * 5000,
)  # fmt: skip
ARABIC = "\u0661\u0662"  # digits for Python's int and for a regular expression without re.ASCII
NO_NUMBERS = ("NaN", "Infinity", "-Infinity", "nan", "-", "+1", "01", "1.", ".5", "1e", "0x10", "1_000", "--1", ARABIC)
DIGITS = (
    "0", "-0", "+5", "12", "0007", " 1", "1 ", "1_000", "0x10", "1e5", "1.5", ARABIC, "9" * 19, "9" * 20, "9" * 5000,
)  # fmt: skip
DECIMALS = (
    "0", "-0", "0.0", "-0.00", "1", "1.5", "-1", "0.000000005", "0.00000000499999999999", "0.005", "1e11", "1E-400",
    "999999999999.99999999", "999999999999.999999995", "1000000000000", "99999999.99", "99999999.995", "100000000",
    "1e12", "1e-8", "123456.789e3", "1e999999", "1e-999999", "1e999999999999999999", "1e-999999999999999999",
    "1e99999999999999999999", "0e999999", "NaN", "sNaN", "-NaN", "NaN123", "Infinity", "-inf", "nan", "+1", ".5", "5.",
    "1_000", ARABIC, "1,5", "1e", "1" * 5000, "0." + "0" * 5000 + "1", "0." + "3" * 5000,
)  # fmt: skip
TIMES = (
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z",
    "1999-12-31T23:59:59.999999Z", "1999-12-31T23:59:59.9999999Z", "2000-01-01T00:00:00Z", "2000-01-01T00:00:00+00:01",
    "2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999999Z", "2024-02-29T12:00:00Z", "2025-02-29T12:00:00Z",
    "2025-01-01T24:00:00Z", "2025-01-01T12:00:00", "2025-01-01t12:00:00z", "2025-01-01T12:00Z", "2025-01-01",
    "2025-06-01T12:00:00+14:00", "2025-06-01T12:00:00-12:00", "2025-06-01T12:00:00+23:59", "2025-06-01T12:00:00+24:00",
    "2025-06-01T12:00:00-00:00", "2025-06-01T12:00:00+0200", "2025-06-01T12:00:00.1Z", "2025-06-01 12:00:00Z",
    "2025-06-01T12:00:00.123456789Z", "2025-06-01T12:00:00Z ", "2038-01-19T03:14:08Z", "9998-12-31T23:59:59Z",
    "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59-23:59", "9999-12-31T00:00:00+23:59",
    "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z",
)  # fmt: skip
PERIODS = (
    "53", "0", "2147483647", "2147483648", "-1", "00000000053", "2025-02-30", "2024-02-29", "1999-12-31", "20260101",
    "2026-W05-2", "2026-02-03T00:00:00", "0001-01-01", "9999-12-31", ARABIC, "",
)  # fmt: skip
TEXTS = (
    "", " ", "\t\r\n ", "\x00", "a\x00b", "\x7f", "\x85", "\u2028", "\ufeff", "\ufffe", "\U0010ffff", "x", "a b",
    "null", "healthy", "wallet", "gonka1/x", "gonkavaloper1x", "gonkavalcons1y", "Gonka1", "/", "\ufb03", "\u0130",
    "e\u0301" * 60, "\U0001d518" * 50, "\U0001d518" * 51, "é" * 100, "é" * 101, "x" * 255, "x" * 256, " " * 300 + "x",
    "x" * 49 + " y", "'; DROP TABLE nodes; --",
)  # fmt: skip
RAW_TEXTS = (
    b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\xed\xa0\x80"', b'"\xff"', b'"\xc0\x80"', b'"a\nb"',
    b'"\\x"', b'"\\u00"', b'"', b"'x'", b'"\\u0000"', b'"\\/"',
)  # fmt: skip
OTHERS = (b"null", b"true", b"false", b"[]", b"{}", b"[null]", b'{"a":1}', b"", b"nul", b"undefined", b"/**/1")


def integers(random: Random, _: datetime) -> bytes:
    """An integer, seldom something that only looks like one."""
    if random.random() < 0.3:
        return str(random.randrange(10 ** random.randrange(1, 20))).encode()
    return random.choice(INTEGERS if random.random() < 0.9 else NO_NUMBERS).encode()


def amounts(random: Random, now: datetime) -> bytes:
    """An integer, as a number or as a string of digits."""
    if random.random() < 0.5:
        return integers(random, now)
    digits = random.choice(DIGITS) if random.random() < 0.5 else str(random.randrange(2 * 10**18))
    return json.dumps(digits).encode()


def decimals(random: Random, _: datetime) -> bytes:
    """A decimal, as a number or as a string."""
    number = random.choice(DECIMALS) if random.random() < 0.8 else repr(random.random() * 10 ** random.randrange(20))
    return (number if random.random() < 0.4 else json.dumps(number)).encode()


def times(random: Random, now: datetime) -> bytes:
    """A time: at an edge, around now and the five minutes by which a producer's clock may be ahead, or long ago."""
    chance = random.random()
    if chance < 0.6:
        return json.dumps(random.choice(TIMES)).encode()
    if chance < 0.9:
        ahead = timedelta(seconds=random.choice((0, 1, 299, 300, 301, 86_400)), microseconds=random.randrange(-1, 2))
        return json.dumps((now + ahead).isoformat()).encode()
    return json.dumps((now - timedelta(seconds=random.randrange(10**9))).isoformat()).encode()


def periods(random: Random, now: datetime) -> bytes:
    """An epoch's number or a date."""
    if random.random() < 0.4:
        return integers(random, now)
    return json.dumps(random.choice(PERIODS)).encode()


def texts(random: Random, _: datetime) -> bytes:
    """A text, with and without escapes; seldom a huge one or no text at all."""
    chance = random.random()
    if chance < 0.8:
        return json.dumps(random.choice(TEXTS), ensure_ascii=random.random() < 0.5).encode()
    if chance < 0.82:
        return b'"' + random.choice((b"x", b" ", "é".encode(), b"\\u0000")) * random.randrange(20_000) + b'"'
    return random.choice(RAW_TEXTS)


def identifiers(random: Random, now: datetime) -> bytes:
    """An identifier that is one, or any text."""
    if random.random() < 0.5:
        return json.dumps(random.choice(("gonka1abc", "gonka1abc/node1", "rig-7", "节点", "x" * 255))).encode()
    return texts(random, now)


def sources(random: Random, now: datetime) -> bytes:
    """A source's name that is one, or any text."""
    if random.random() < 0.5:
        return json.dumps(random.choice(("hyperfusion", "a", "0", "a" * 50, "a" * 51, "-a", "A", "a\n"))).encode()
    return texts(random, now)


def choices(*names: str) -> Pool:
    """One of the names, as it is or a little off."""

    def pool(random: Random, now: datetime) -> bytes:
        if random.random() < 0.7:
            return json.dumps(random.choice(names)).encode()
        return json.dumps(random.choice((random.choice(names).upper(), random.choice(names) + " ", ""))).encode()

    return pool


def booleans(random: Random, _: datetime) -> bytes:
    """A boolean, seldom something that other languages take for one."""
    return random.choice((b"true", b"false", b"true", b"false", b"1", b"0", b'"true"', b"True"))


def nested(random: Random, _: datetime) -> bytes:
    """Arrays or objects in each other, up to far beyond any recursion limit."""
    depth = random.choice((2, 20, 200, 900, 1100, 20_000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}")))
    core = b"1" if opening != b"[" else b""
    return opening * depth + core + (closing * depth if random.random() < 0.7 else b"")


def others(random: Random, now: datetime) -> bytes:
    """A value of any type."""
    if random.random() < 0.1:
        return nested(random, now)
    if random.random() < 0.4:
        return random.choice(OTHERS)
    return random.choice((integers, amounts, decimals, times, texts))(random, now)


POOLS: dict[bytes, Pool] = {
    b"identifier": identifiers,
    b"identifier_type": choices("wallet", "node_id", "operator", "validator"),
    b"source": sources,
    b"status": choices("healthy", "unhealthy", "jailed", "offline"),
    b"kind": choices("epoch", "day", "total"),
    b"period": periods,
    **dict.fromkeys((b"amount_ngonka", b"work_ngonka", b"reward_ngonka"), amounts),
    **dict.fromkeys((b"voting_weight", b"tokens_per_sec"), decimals),
    **dict.fromkeys((b"jobs_day", b"epoch", b"height", b"preference_seconds", b"earnings_order"), integers),
    **dict.fromkeys((b"health_probed", b"settled_exact", b"final", b"claimed", b"probes_health"), booleans),
    **dict.fromkeys((b"observed_at", b"settled_at", b"requested_at", b"reported_at", b"data_at"), times),
    **dict.fromkeys((b"last_attempt_at", b"last_success_at", b"last_error_at"), times),
    b"poll_interval_seconds": integers,
}
"""What suits each field; a field that is not listed is a text."""
