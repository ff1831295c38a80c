"""Dead letters as lines of text and as JSON. What a producer wrote never reaches the terminal unescaped."""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.kernel.letters import Letter, State
from services.kernel.wire import Headers, OutgoingRecord

_KEY_WIDTH = 24
_ERROR_WIDTH = 80


def table(letters: Iterable[Letter], *, with_state: bool) -> Iterator[str]:
    """A line a letter, under a heading. Nothing that names a letter is ever cut, however narrow the terminal is."""
    heading = ["topic", "partition", "offset", "when (UTC)", "key", "reason", *["state"] * with_state, "error"]
    rows = [heading, *(_row(letter, with_state=with_state) for letter in letters)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(letter: Letter, *, with_state: bool) -> list[str]:
    return [
        *map(str, letter.identity),
        f"{_time(letter.rejected_ms):%Y-%m-%d %H:%M:%S}",
        _cut(readable(letter.key), _KEY_WIDTH),
        readable(letter.reason),
        *[letter.state] * with_state,
        _cut(readable(letter.error), _ERROR_WIDTH),
    ]


def by_reason(reasons: Counter[str]) -> str:
    """How many there are of each, the most frequent first: '3 invalid_field, 1 tombstone'."""
    ranked = sorted(reasons.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{count:,} {readable(reason)}" for reason, count in ranked)


def letters_of(count: int) -> str:
    """'1 letter', '2 letters'."""
    return f"{count:,} letter{'' if count == 1 else 's'}"


def summary(letters: Sequence[Letter]) -> str:
    """How many letters are open, by reason, and how many are done."""
    reasons = Counter(letter.reason for letter in letters if letter.state is State.OPEN)
    done = Counter(letter.state for letter in letters if letter.state is not State.OPEN)
    sentence = f"{letters_of(reasons.total())} open" + (f": {by_reason(reasons)}" if reasons else "")
    return "; ".join([sentence, *(f"{count:,} {state}" for state, count in sorted(done.items()))])


def as_object(letter: Letter, original: OutgoingRecord | None) -> dict[str, Any]:
    """The letter for JSON; bytes that are not UTF-8 stand under `…_base64`. Without the original: value null."""
    found: dict[str, Any] = {
        "topic": letter.identity.topic,
        "partition": letter.identity.partition,
        "offset": letter.identity.offset,
        "rejected_at": _iso(letter.rejected_ms),
        "recorded_at": _iso(letter.recorded_ms),
        "reason": letter.reason,
        "error": letter.error,
        "state": letter.state,
        "marked_at": _iso(None if letter.mark is None else letter.mark.marked_ms),
        "omitted": letter.omitted,
    }
    if original is None:
        return {**found, **_bytes("key", letter.key), "value": None, "headers": []}
    headers = [{"name": name, **_bytes("value", value)} for name, value in original.headers]
    return {**found, **_bytes("key", original.key), **_bytes("value", original.value), "headers": headers}


def whole(letter: Letter, original: OutgoingRecord | None) -> Iterator[str]:
    """Everything about a letter, line by line."""
    marked = "" if letter.mark is None else f", {_iso(letter.mark.marked_ms)}"
    topic, partition, offset = letter.identity
    said = {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "state": letter.state + marked,
        "rejected": _iso(letter.rejected_ms),
        "recorded": _iso(letter.recorded_ms) or "unknown",
        "reason": readable(letter.reason),
        "error": readable(letter.error),
        "letter": "; ".join(map(str, letter.copies)),
        "key": readable(letter.key if original is None else original.key),
    }
    yield from (f"{name:<10} {text}" for name, text in said.items())
    if original is None:
        yield f"value      left out of the letter, and {topic} does not have the record any more or it cannot be read"
        return
    yield from _headers(original.headers)
    origin = " (left out of the letter, read from the topic)" if letter.omitted else ""
    if original.value is None:
        yield f"value      none{origin}"
        return
    yield f"value      {len(original.value):,} bytes{origin}"
    yield from _pretty(original.value)


def _headers(headers: Headers) -> Iterator[str]:
    yield f"headers    {len(headers)}"
    yield from (f"  {readable(name)}: {readable(value)}" for name, value in headers)


def _pretty(value: bytes) -> Iterator[str]:
    """JSON with its fields one a line, numbers and repeated fields as they were written; a hex dump otherwise."""
    try:
        lines = msgspec.json.format(value, indent=2).decode().split("\n")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        yield from hex_dump(value)
    else:
        yield from map(readable, lines)


def hex_dump(value: bytes) -> Iterator[str]:
    """Sixteen bytes a line: offset, hexadecimal, ASCII."""
    for start in range(0, len(value), 16):
        row = value[start : start + 16]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row.hex(' '):<47}  {letters}"


def readable(content: str | bytes | None) -> str:
    """The text with everything escaped that does not print, so that it cannot steer the terminal; '-' for None."""
    if content is None:
        return "-"
    text = content.decode(errors="backslashreplace") if isinstance(content, bytes) else content
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _bytes(name: str, content: bytes | None) -> dict[str, str | None]:
    try:
        return {name: None if content is None else content.decode()}
    except UnicodeDecodeError:
        assert content is not None, "None was not decoded"
        return {f"{name}_base64": base64.b64encode(content).decode()}


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _iso(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else _time(milliseconds).isoformat(timespec="milliseconds")
