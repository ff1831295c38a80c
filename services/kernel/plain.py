"""Plain records: those whose headers are the very ones that `wire.encode` writes, and those without any.

Of these only the value is wanted. The client library makes a dozen objects of a record's key and headers, which takes
longer than decoding the value (docs/performance.md); here their bytes are compared, and passed over.

In a batch of Kafka's format 2 (https://kafka.apache.org/documentation/#record) a record is

    its length, attributes (one byte), the timestamp's delta, the offset's delta, the key's length, the key, the value's
    length, the value, how many headers, and of each: the name's length, the name, the value's length, the value

where numbers are zigzag varints, the least significant seven bits first, and a length of -1 means none.
"""

from collections.abc import Sequence

_TWO_BYTES = 0x3FFF  # the greatest varint, before zigzag, of two bytes
_ONE_BYTE = 0x7F
_NONE_YET = b"\xff"  # headers do not begin so: their number would be below zero


class _OtherHeadersError(Exception):
    """They are not plain."""


class PlainHeaders:
    """Knows headers by their bytes: some that are always the same, then two of any value.

    Names and values are below 64 bytes.
    """

    def __init__(self, same: Sequence[tuple[str, bytes]], names: tuple[str, str]) -> None:
        first, last = (_text(name.encode()) for name in names)
        self._begin = bytes([(len(same) + 2) << 1])
        self._begin += b"".join(_text(name.encode()) + _text(value) for name, value in same) + first
        self._last_name = last
        self._seen = _NONE_YET  # of the headers that were seen last, all but the last value

    def values(self, records: bytes) -> tuple[list[bytes], list[int]] | None:
        """The values of all of a batch's records, and their offsets' deltas.

        None when one of them is not plain, has no value or more than 8 KB, or is no record at all: those are for the
        client library.
        """
        values: list[bytes] = []
        deltas: list[int] = []
        take, place, starts = values.append, deltas.append, records.startswith
        seen, seen_size = self._seen, len(self._seen)
        at, end = 0, len(records)
        try:
            while at < end:
                size = records[at]
                at += 1
                if size > _ONE_BYTE:
                    size = size & _ONE_BYTE | records[at] << 7
                    at += 1
                stop = at + (size >> 1)
                attributes = records[at]  # none are in use
                at += 2  # behind the first byte of the timestamp's delta
                while records[at - 1] > _ONE_BYTE:
                    at += 1
                delta = records[at]
                at += 1
                if delta > _ONE_BYTE:
                    delta = delta & _ONE_BYTE | records[at] << 7
                    at += 1
                key_size = records[at]
                if key_size == 1:
                    key_size = 0
                at += 1 + (key_size >> 1)
                value_size = records[at]
                at += 1
                if value_size > _ONE_BYTE:
                    value_size = value_size & _ONE_BYTE | records[at] << 7
                    at += 1
                take(records[at : (at := at + (value_size >> 1))])
                place(delta >> 1)
                if records[at] == 0:  # no headers
                    last_size = 0
                    at += 1
                else:
                    if not starts(seen, at):
                        seen = self._all_but_the_last_value(records, at)
                        seen_size = len(seen)
                    at += seen_size
                    last_size = records[at]
                    at += 1 + (last_size >> 1)
                # All at once: is a number below zero, or of more bytes than were read, or is anything left?
                long, short = size | delta | value_size, attributes | key_size | last_size
                if (long | short) & 1 or long > _TWO_BYTES or short > _ONE_BYTE or at != stop:
                    return None
        except (IndexError, _OtherHeadersError):
            return None
        self._seen = seen
        return (values, deltas) if at == end else None

    def _all_but_the_last_value(self, records: bytes, at: int) -> bytes:
        if not records.startswith(self._begin, at):
            raise _OtherHeadersError
        begin, at = at, at + len(self._begin)
        size = records[at]
        at += 1 + (size >> 1)
        if size & 1 or size > _ONE_BYTE or not records.startswith(self._last_name, at):
            raise _OtherHeadersError
        return records[begin : at + len(self._last_name)]


def _text(content: bytes) -> bytes:
    return bytes([len(content) << 1]) + content
