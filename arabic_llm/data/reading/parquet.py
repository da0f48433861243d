"""Parquet: rows a batch at a time; the place of a record is the number of its row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arabic_llm.data.reading.lines import most_unpacked
from arabic_llm.data.reading.records import Broken, Record, checked, not_readable, refuse_repeated, shown
from arabic_llm.errors import DataError

if TYPE_CHECKING:
    from pyarrow import DataType, RecordBatch
    from pyarrow.parquet import FileMetaData

_ROWS_AT_A_TIME = 64  # as Python values in memory, or as many as hold so many bytes:
_BYTES_AT_A_TIME = 2**27  # each may repeat the longest text of a dictionary
_TIMES_UNPACKED = 8  # what another packed file may unpack to: a system prompt is stored once for all rows


def read_parquet(path: Path) -> Iterator[Record | Broken]:
    """Yield the rows of a file. Raises DataError for one that is damaged, as far as its bytes show it."""
    number = 0
    for batch in _batches(path):
        for values in _as_python(batch):
            number += 1
            place = f"{path}:{number}"
            yield Broken(place, values) if isinstance(values, str) else checked(place, values)


def num_rows(path: Path) -> int:
    """Return how many rows a file says it has. Raises DataError for one that is damaged."""
    from pyarrow import ArrowException, parquet

    try:
        return int(parquet.read_metadata(path).num_rows)
    except (ArrowException, OSError, ValueError) as error:
        raise not_readable(path, "a Parquet", error) from error


def _batches(path: Path) -> Iterator[RecordBatch]:
    from pyarrow import ArrowException, parquet  # half a second, and few files are Parquet

    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            refuse_repeated(str(path), file.schema_arrow.names)
            left = _TIMES_UNPACKED * most_unpacked(path)
            for batch in file.iter_batches(_rows_at_a_time(file.metadata)):
                shown_batch = _as_shown(batch)
                left -= shown_batch.nbytes
                if left < 0:
                    size = (_TIMES_UNPACKED * most_unpacked(path)) >> 20
                    raise DataError(f"{path}: unpacks to more than {size:,} MiB; write what repeats once")
                yield shown_batch
    except (ArrowException, OSError, ValueError) as error:  # a column name may be no UTF-8
        raise not_readable(path, "a Parquet", error) from error


def _rows_at_a_time(metadata: FileMetaData) -> int:
    """Return how many rows are held at once: no text of a dictionary is longer than its column."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    longest = max((c.total_uncompressed_size for c in columns if c.has_dictionary_page), default=0)
    return min(_ROWS_AT_A_TIME, max(1, _BYTES_AT_A_TIME // max(1, longest)))


def _as_shown(batch: RecordBatch) -> RecordBatch:
    """Return a batch with texts where bytes are texts, and short numbers in their own digits.

    What Arrow keeps as a dictionary is written out: its bytes are those of its rows.
    """
    import numpy as np
    import pyarrow
    from pyarrow import types

    columns = []
    for written in batch.columns:
        plain = _written_out(written.type)
        column = written if plain == written.type else written.cast(plain)
        try:
            if types.is_float32(column.type):  # read as 64 bits, 0.1 would be 0.10000000149011612
                columns.append(column.cast(pyarrow.string()).cast(pyarrow.float64()))
            elif types.is_float16(column.type):  # which Arrow casts by way of 64 bits
                shown_so = [value and float(str(np.float16(value))) for value in column.to_pylist()]
                columns.append(pyarrow.array(shown_so, pyarrow.float64()))
            elif types.is_binary(column.type) or types.is_large_binary(column.type):
                columns.append(column.cast(pyarrow.string()))
            else:
                columns.append(column)
        except pyarrow.ArrowInvalid:  # no UTF-8
            columns.append(column)
    return pyarrow.RecordBatch.from_arrays(columns, batch.schema.names)


def _written_out(kind: DataType) -> DataType:
    """Return a type whose values stand in each row, at any depth."""
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(kind):
        return _written_out(kind.value_type)
    if types.is_list(kind):
        return pyarrow.list_(kind.value_field.with_type(_written_out(kind.value_type)))
    if types.is_large_list(kind):
        return pyarrow.large_list(kind.value_field.with_type(_written_out(kind.value_type)))
    if types.is_struct(kind):
        return pyarrow.struct([field.with_type(_written_out(field.type)) for field in kind])
    return kind


def _as_python(batch: RecordBatch) -> Iterator[dict[str, Any] | str]:
    """Yield the values of each row, or what is wrong with it."""
    try:
        yield from batch.to_pylist()
    except ValueError:  # one value spoils the batch: not UTF-8, or a date that Python does not have
        for index in range(batch.num_rows):
            yield _row_as_python(batch.slice(index, 1))


def _row_as_python(row: RecordBatch) -> dict[str, Any] | str:
    try:
        values: dict[str, Any] = row.to_pylist()[0]
    except ValueError as error:
        return f"unreadable value: {shown(error)}"
    return values
