"""Arrow types as DuckDB writes them, and back."""

from typing import Final

import pyarrow as pa

from lapwing_collector.engine import identifier
from lapwing_collector.model.records import UNTYPED

_NAMES: Final = {
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.timestamp("us"): "TIMESTAMP",
    UNTYPED: "JSON",
}


def sql_type(kind: pa.DataType) -> str:
    """The column type for an Arrow type.

    Raises:
        KeyError: A type that the lake does not store.
    """
    if pa.types.is_struct(kind):
        return "STRUCT(" + ", ".join(f"{identifier(f.name)} {sql_type(f.type)}" for f in kind) + ")"
    if pa.types.is_map(kind):
        return f"MAP({sql_type(kind.key_type)}, {sql_type(kind.item_type)})"
    if pa.types.is_list(kind):
        return sql_type(kind.value_type) + "[]"
    return _NAMES[kind]


def plain(kind: pa.DataType) -> pa.DataType:
    """An Arrow type as DuckDB reports it, with the names of list items as Arrow has them by default."""
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, plain(f.type)) for f in kind])
    if pa.types.is_list(kind):
        return pa.list_(plain(kind.value_type))
    return kind
