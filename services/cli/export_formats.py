"""Rows as JSON lines and Parquet, beside `columns.CsvWriter`. Money is written digit by digit, never as a float."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, BinaryIO, Final, Protocol

import msgspec

from services.kernel.columns import Column, Kind
from services.kernel.errors import ConfigurationError
from services.kernel.money import digits


class Writer(Protocol):
    """Takes rows, in the order of its columns, a few thousand at a time; nothing is complete before `close`.

    The file below stays open. Raises OSError where it cannot be written.
    """

    def write(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write rows; a row may be longer than the columns."""

    def close(self) -> None:
        """Write what is left."""


class JsonLinesWriter:
    """One JSON object a line; amounts are strings, since a JSON number is a float to most readers."""

    def __init__(self, out: BinaryIO, columns: Sequence[Column]) -> None:
        self._out = out
        self._encoder = msgspec.json.Encoder()
        self._fields = [(column.name, _JSON.get(column.kind)) for column in columns]

    def write(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write rows; a row may be longer than the columns."""
        self._out.write(self._encoder.encode_lines([self._object(row) for row in rows]))

    def _object(self, row: Iterable[Any]) -> dict[str, Any]:
        return {
            name: value if form is None or value is None else form(value)
            for (name, form), value in zip(self._fields, row, strict=False)
        }

    def close(self) -> None:
        """Write what is left."""
        self._out.flush()


class ParquetWriter:
    """Decimals, dates and UTC timestamps as Parquet's own types; a row group for each write."""

    def __init__(self, out: BinaryIO, columns: Sequence[Column]) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415 - an extra, and no other format should wait for it
            from pyarrow import parquet  # noqa: PLC0415
        except ImportError:
            raise ConfigurationError(
                "Parquet needs the package pyarrow: install minegnk[parquet], or choose --format csv or jsonl."
            ) from None
        moment = pa.timestamp("us", tz="UTC")
        types = {
            Kind.FREE_TEXT: pa.string(),
            Kind.TEXT: pa.string(),
            Kind.TEXTS: pa.list_(pa.string()),
            Kind.DATE: pa.date32(),
            Kind.TIME: moment,
            Kind.TIMES: pa.list_(moment),
            Kind.YES_NO: pa.bool_(),
            Kind.NGONKA: pa.decimal128(38, 0),
            Kind.GNK_8: pa.decimal128(20, 8),
            Kind.GNK_9: pa.decimal128(38, 9),
        }
        self._batch = pa.RecordBatch.from_arrays
        self._array = pa.array
        self._schema = pa.schema([(column.name, types[column.kind]) for column in columns])
        self._writer = parquet.ParquetWriter(out, self._schema, compression="zstd")

    def write(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write rows; a row may be longer than the columns."""
        values = zip(*rows, strict=True)
        arrays = [self._array(column, field.type) for column, field in zip(values, self._schema, strict=False)]
        self._writer.write_batch(self._batch(arrays, schema=self._schema))

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


_JSON: Final[Mapping[Kind, Callable[[Any], object]]] = {
    Kind.NGONKA: digits,
    Kind.GNK_8: digits,
    Kind.GNK_9: digits,
}
