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


_DECLARABLE: Final = {
    "BOOLEAN": pa.bool_(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "BLOB": pa.binary(),
    "BOOLEAN[]": pa.list_(pa.bool_()),
    "BIGINT[]": pa.list_(pa.int64()),
    "FLOAT[]": pa.list_(pa.float32()),
    "DOUBLE[]": pa.list_(pa.float64()),
    "VARCHAR[]": pa.list_(pa.string()),
    "MAP(VARCHAR, BIGINT)": pa.map_(pa.string(), pa.int64()),
    "MAP(VARCHAR, DOUBLE)": pa.map_(pa.string(), pa.float64()),
    "MAP(VARCHAR, VARCHAR)": pa.map_(pa.string(), pa.string()),
}


def declared_type(name: str) -> pa.DataType:
    """The Arrow type of a field that people declare.

    Raises:
        ValueError: It is none that fields have; says which they have.
    """
    try:
        return _DECLARABLE[name.strip().upper()]
    except KeyError:
        raise ValueError(f"one of {', '.join(_DECLARABLE)}, not {name!r}") from None


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


def catalog_name(kind: pa.DataType) -> str:
    """How DuckLake's catalog names a type that the lake stores; what is inside is told apart from it."""
    if pa.types.is_struct(kind):
        return "struct"
    if pa.types.is_map(kind):
        return "map"
    if pa.types.is_list(kind):
        return "list"
    return next(name for name, known in _CATALOG_NAMES.items() if known == kind)
