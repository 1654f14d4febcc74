"""Parquet files that survive a power cut: file and folder are synced before anyone refers to them."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from lapwing_collector import crashpoints
from lapwing_collector.folders import make_folder, sync_folder
from lapwing_collector.lake.shapes import Path as FieldPath

ROW_GROUP_ROWS: Final = 16_384
"""Small, so that a query over a time window decodes little beside it."""

COMPRESSION: Final = "zstd"


_SAMPLE_ROWS: Final = 256
"""Rows by which a column's encoding is chosen."""


@dataclass(frozen=True, slots=True)
class Written:
    """What there is to say of a file: its size, and its footer with the size of that."""

    size_bytes: int
    footer_bytes: int
    footer: pq.FileMetaData

    @classmethod
    def of(cls, file: IO[bytes], footer: pq.FileMetaData) -> Self:
        """What there is to say of an open file."""
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(-8, os.SEEK_END)  # the footer's length and the closing mark
        return cls(size_bytes, int.from_bytes(file.read(4), "little"), footer)


def write_parquet(
    file: Path, parts: Iterable[pa.Table], columns: Mapping[FieldPath, int] | None = None
) -> Written:
    """Write rows to the new `file` durably; its folder is made where missing.

    Pages carry checksums, so that a scrub finds flipped bits.

    Args:
        file: Where to.
        parts: What, of one schema; at least one, and never all in memory together. The first one's values
            decide on encodings.
        columns: The catalog's number of each column and of what is inside it; None to leave them unnumbered.

    Raises:
        OSError: The disk is full, or refuses.
    """
    make_folder(file.parent)
    try:
        footer = write_parts(file, parts, columns)
        crashpoints.reach("lake.before_sync")
        with file.open("rb") as synced:
            os.fsync(synced.fileno())
            written = Written.of(synced, footer)
        sync_folder(file.parent)
    except BaseException:
        file.unlink(missing_ok=True)  # a full disk must not be filled further by trying again
        raise
    return written


def write_parts(
    file: Path | IO[bytes], parts: Iterable[pa.Table], columns: Mapping[FieldPath, int] | None = None
) -> pq.FileMetaData:
    """Write a file as `write_parquet` does, without making it durable; its footer."""
    footers: list[pq.FileMetaData] = []
    parts = iter(parts)
    first = next(parts)
    schema = first.schema
    if columns is not None:
        schema = pa.schema([_numbered(field, (field.name,), columns) for field in schema])
    dictionaries, encodings = _encodings(first)
    with pq.ParquetWriter(
        file,
        schema,
        compression=COMPRESSION,
        use_dictionary=dictionaries,
        column_encoding=encodings,
        write_page_checksum=True,
        metadata_collector=footers,
    ) as writer:
        for part in chain([first], parts):
            numbered = pa.Table.from_arrays(part.columns, schema=schema)
            writer.write_table(numbered, row_group_size=ROW_GROUP_ROWS)
    return footers[0]


def _numbered(field: pa.Field, path: FieldPath, columns: Mapping[FieldPath, int]) -> pa.Field:
    """The field with the catalog's numbers, by which DuckLake finds columns in files."""
    kind = field.type
    if pa.types.is_struct(kind):
        kind = pa.struct([_numbered(inner, (*path, inner.name), columns) for inner in kind])
    elif pa.types.is_map(kind):
        kind = pa.map_(
            _numbered(kind.key_field, (*path, "key"), columns),
            _numbered(kind.item_field, (*path, "value"), columns),
        )
    elif pa.types.is_list(kind):
        kind = pa.list_(_numbered(kind.value_field, (*path, "element"), columns))
    return field.with_type(kind).with_metadata({"PARQUET:field_id": str(columns[path])})


def _encodings(rows: pa.Table) -> tuple[list[str], dict[str, str]]:
    """Which columns get a dictionary, and how the others are encoded."""
    samples = zip(rows.column_names, rows.slice(0, _SAMPLE_ROWS).columns, strict=True)
    chosen = {
        path: _encoding(path, values)
        for name, column in samples
        for chunk in column.chunks[:1]
        for path, values in _leaves(name, chunk)
    }
    return (
        [path for path, encoding in chosen.items() if encoding is None],
        {path: encoding for path, encoding in chosen.items() if encoding is not None},
    )


def _leaves(path: str, values: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """The columns of a file that an array becomes, under the names that they have there."""
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        yield path, values.storage
    elif pa.types.is_struct(kind):
        for place, inner in enumerate(kind):
            yield from _leaves(f"{path}.{inner.name}", values.field(place))
    elif pa.types.is_map(kind):
        yield f"{path}.key_value.key", values.keys
        yield f"{path}.key_value.value", values.items
    elif pa.types.is_list(kind):
        yield from _leaves(f"{path}.list.element", values.flatten())
    else:
        yield path, values


def _encoding(path: str, sample: pa.Array) -> str | None:
    """How values like these are encoded; None for a dictionary."""
    kind = sample.type
    if pa.types.is_timestamp(kind):
        return "DELTA_BINARY_PACKED"
    if pa.types.is_boolean(kind) or len(sample.unique()) * 2 <= len(sample):
        return None
    if path in _ORDERED:
        return "DELTA_BYTE_ARRAY"
    return next((encoding for holds, encoding in _DIVERSE if holds(kind)), None)


_ORDERED: Final = ("prediction_id",)
"""Texts of which each is like the one before: ids that begin with the time."""

_DIVERSE: Final = (
    (pa.types.is_integer, "DELTA_BINARY_PACKED"),
    (pa.types.is_floating, "BYTE_STREAM_SPLIT"),
    (pa.types.is_string, "DELTA_LENGTH_BYTE_ARRAY"),
    (pa.types.is_binary, "DELTA_LENGTH_BYTE_ARRAY"),
)
"""Encodings of columns whose values rarely repeat."""


def sync_file(file: Path) -> None:
    """Make the content of `file` durable."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
