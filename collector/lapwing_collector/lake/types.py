"""Arrow types as DuckDB writes them, and back."""

from collections.abc import Mapping
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


_CATALOG_NAMES: Final = {
    "boolean": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "varchar": pa.string(),
    "blob": pa.binary(),
    "timestamp": pa.timestamp("us"),
    "json": UNTYPED,
}


def arrow_type(name: str, inner: Mapping[str, pa.DataType]) -> pa.DataType:
    """The Arrow type of a column as DuckLake's catalog describes it, by name and what is inside.

    Raises:
        KeyError: A type that the lake does not store.
    """
    if name == "struct":
        return pa.struct(list(inner.items()))
    if name == "list":
        return pa.list_(inner["element"])
    if name == "map":
        return pa.map_(inner["key"], inner["value"])
    return _CATALOG_NAMES[name]
