"""Parquet: rows a batch at a time; the place of a record is the number of its row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arabic_llm.data.reading.lines import LONGEST_LINE_BYTES, most_unpacked
from arabic_llm.data.reading.records import Broken, Record, checked, not_readable, refuse_repeated, shown
from arabic_llm.errors import DataError

if TYPE_CHECKING:
    from pyarrow import Array, DataType, DictionaryArray, RecordBatch
    from pyarrow.parquet import FileMetaData

_ROWS_AT_A_TIME = 64  # as Python values in memory, or one where so many hold more than this:
_BYTES_AT_A_TIME = 2**27
_TIMES_UNPACKED = 8  # what another packed file may unpack to: a system prompt is stored once for all rows
_TEXTS = ("STRING", "JSON", "ENUM", "NONE")  # of bytes, what a dictionary may stand for


def read_parquet(path: Path) -> Iterator[Record | Broken]:
    """Yield the rows of a file. Raises DataError for one that is damaged, as far as its bytes show it."""
    number = 0
    for batch in _batches(path):
        for values in [batch] if isinstance(batch, str) else _as_python(batch):
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


def _batches(path: Path) -> Iterator[RecordBatch | str]:
    """Yield the rows, some at a time, or what is wrong with one: how large it would be is known before."""
    from pyarrow import ArrowException, parquet  # half a second, and few files are Parquet

    left = most = _TIMES_UNPACKED * most_unpacked(path)
    too_much = DataError(f"{path}: unpacks to more than {most >> 20:,} MiB; write what repeats once")
    try:
        about = parquet.read_metadata(path)
        if sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups)) > most:
            raise too_much
        kept = _kept_once(about)
        with parquet.ParquetFile(path, page_checksum_verification=True, read_dictionary=kept) as file:
            refuse_repeated(str(path), file.schema_arrow.names)
            for batch in file.iter_batches(_ROWS_AT_A_TIME):
                for part, size in _parts(batch):
                    if part.num_rows == 1 and size > LONGEST_LINE_BYTES:
                        yield f"row too long: {size >> 20:,} MiB"
                        continue
                    left -= size
                    if left < 0:
                        raise too_much
                    yield _as_shown(part)
    except (ArrowException, OSError, ValueError) as error:  # a column name may be no UTF-8
        raise not_readable(path, "a Parquet", error) from error


def _kept_once(about: FileMetaData) -> list[str]:
    """Return the columns of texts that a dictionary holds, which Arrow is not to write out yet."""
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    columns = [(number, about.schema.column(number)) for number in range(about.num_columns)]
    return [
        column.path
        for number, column in columns
        if column.physical_type == "BYTE_ARRAY"
        and column.logical_type.type in _TEXTS
        and any(group.column(number).has_dictionary_page for group in groups)
    ]


def _parts(batch: RecordBatch) -> Iterator[tuple[RecordBatch, int]]:
    """Yield the batch, or its rows one by one where it is large, and the bytes of what it stands for."""
    if (size := sum(map(_size, batch.columns))) <= _BYTES_AT_A_TIME:
        yield batch, size
        return
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        yield row, sum(map(_size, row.columns))


def _size(column: Array) -> int:
    """Return the bytes of a column whose values stand in each row."""
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        return _size_of_repeated(column)
    if types.is_map(kind):
        first, last = column.offsets[0].as_py(), column.offsets[-1].as_py()
        parts = [part.slice(first, last - first) for part in (column.keys, column.items)]
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        parts = [column.flatten()]
    elif types.is_struct(kind):
        parts = column.flatten()
    else:
        return int(column.nbytes)
    return sum(map(_size, parts))


def _size_of_repeated(column: DictionaryArray) -> int:
    """Return the bytes of the values that a column's numbers stand for."""
    from pyarrow import compute, types

    kind, known = column.type.value_type, column.dictionary
    are_texts = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    if not any(holds(kind) for holds in are_texts):
        return len(column) * int(known.nbytes) // max(1, len(known))
    lengths = compute.binary_length(known).cast("int64")
    return int(compute.sum(lengths.take(column.indices)).as_py() or 0)


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
    except (
        ValueError,
        OverflowError,
    ):  # one value spoils the batch: not UTF-8, or a date that Python does not have
        for index in range(batch.num_rows):
            yield _row_as_python(batch.slice(index, 1))


def _row_as_python(row: RecordBatch) -> dict[str, Any] | str:
    try:
        values: dict[str, Any] = row.to_pylist()[0]
    except (ValueError, OverflowError) as error:
        return f"unreadable value: {shown(error)}"
    return values
