"""The columns of a table that values can be counted of, by the dotted names of their fields."""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from lapwing_collector.model.description import dotted

type_ = pa.types


def is_number(kind: pa.DataType) -> bool:
    """Whether values are numbers; booleans are none."""
    return bool(type_.is_integer(kind) or type_.is_floating(kind) or type_.is_decimal(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether values are texts."""
    return bool(type_.is_string(kind) or type_.is_large_string(kind) or type_.is_string_view(kind))


def countable(kind: pa.DataType) -> bool:
    """Whether the values of a column of this type are counted."""
    return is_number(kind) or is_text(kind) or bool(type_.is_boolean(kind))


def countable_fields(types: Mapping[str, pa.DataType]) -> list[str]:
    """Names of the fields whose values are counted, of columns of these types."""
    return [dotted(path) for path, kind in _places((), types.items()) if countable(kind)]


def countable_places(columns: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Where the columns of a file that are counted stand in it, by the names that `columns_of` gives them."""
    return {name: path for name, (path, kind) in file_places(columns).items() if countable(kind)}


def file_places(columns: pa.Schema) -> dict[str, tuple[tuple[str, ...], pa.DataType]]:
    """Where each column of a file stands in it, of which type, by the names that `columns_of` gives them."""
    kinds = zip(columns.names, columns.types, strict=True)
    return {path[0] if len(path) == 1 else dotted(path): (path, kind) for path, kind in _places((), kinds)}


def _places(
    path: tuple[str, ...], columns: Iterable[tuple[str, pa.DataType]]
) -> Iterable[tuple[tuple[str, ...], pa.DataType]]:
    for name, kind in columns:
        if type_.is_struct(kind):
            yield from _places((*path, name), ((field.name, field.type) for field in kind))
        else:
            yield (*path, name), kind


def flattened(rows: pa.Table) -> dict[str, pa.Array]:
    """Every column, and in place of a struct what is inside it, by dotted name; a column is one array."""
    found: dict[str, pa.Array] = {}
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        _take_apart((name,), column.combine_chunks() if column.num_chunks != 1 else column.chunk(0), found)
    return found


def _take_apart(path: tuple[str, ...], values: pa.Array, found: dict[str, pa.Array]) -> None:
    if not type_.is_struct(values.type):
        found[dotted(path)] = values
        return
    for field, inner in zip(values.type, values.flatten(), strict=True):
        _take_apart((*path, field.name), inner, found)
