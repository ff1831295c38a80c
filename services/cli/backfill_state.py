"""The epochs that a backfill has seen published, in a small file: what resuming needs not ask for again.

Safe to lose: every epoch may be published again.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from services.embedded.files import write_private


class Span(msgspec.Struct, frozen=True, order=True, array_like=True):
    """Epochs, the first and the last included."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many they are; 0 where the last is before the first."""
        return max(0, self.last - self.first + 1)


class _Document(msgspec.Struct):
    """The file's content. `kafka` is the cluster that holds the reports: another one holds none of them."""

    source: str
    kafka: str
    published: list[Span]


class State:
    """The state file of a source's backfills into one Kafka. What is wrong with the file is told, and is no error.

    A file that is something else is left as it is.
    """

    def __init__(self, path: Path, source: str, kafka: str) -> None:
        self._path = path
        self._source = source
        self._kafka = kafka
        self._writable = True

    def published(self, wanted: Span) -> list[Span]:
        """Those of the epochs that were seen published."""
        spans = united(self._read(warn=True))
        within = (Span(max(span.first, wanted.first), min(span.last, wanted.last)) for span in spans)
        return [span for span in within if span.size]

    def add(self, epochs: Iterable[int]) -> None:
        """Note that these are published, beside what stands there, maybe from another backfill."""
        self._write(united([*self._read(), *(Span(epoch, epoch) for epoch in epochs)]))

    def forget(self, gone: Span) -> None:
        """Note that these are to be asked for again."""
        kept = [
            piece
            for span in self._read()
            for piece in (
                Span(span.first, min(span.last, gone.first - 1)),
                Span(max(span.first, gone.last + 1), span.last),
            )
            if piece.size
        ]
        self._write(kept)

    def _read(self, *, warn: bool = False) -> list[Span]:
        problem = ""
        try:
            document = msgspec.json.decode(self._path.read_bytes(), type=_Document)
        except FileNotFoundError:
            return []
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
            self._writable = False
        except (msgspec.DecodeError, UnicodeDecodeError):
            problem = "is no state of a backfill"
            self._writable = False
        else:
            if (document.source, document.kafka) == (self._source, self._kafka):
                return document.published
            problem = "is the state of another source or another Kafka"
        if warn:
            left = "" if self._writable else " and left as it is (remove it, or give another --state)"
            sys.stderr.write(f"{self._path} {problem}: it is ignored{left}, and every epoch is asked for.\n")
        return []

    def _write(self, spans: list[Span]) -> None:
        if not self._writable:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_private(self._path, msgspec.json.encode(_Document(self._source, self._kafka, spans)).decode() + "\n")
        except OSError as error:
            self._writable = False
            sys.stderr.write(
                f"{self._path} cannot be written ({error.strerror}): after an interruption, every epoch will be asked "
                "for again.\n"
            )


def united(spans: Iterable[Span]) -> list[Span]:
    """The same epochs as the fewest spans, in order."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.first <= found[-1].last + 1:
            found[-1] = Span(found[-1].first, max(found[-1].last, span.last))
        else:
            found.append(span)
    return found
