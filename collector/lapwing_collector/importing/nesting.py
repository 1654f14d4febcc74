"""Columns with dotted names, as structs."""

from collections.abc import Mapping

import pyarrow as pa


def nested(columns: Mapping[str, pa.Array]) -> pa.StructArray:
    """Put columns into one struct, `a.b` as the field `b` of the field `a`."""
    inner: dict[str, dict[str, pa.Array]] = {}
    fields: dict[str, pa.Array] = {}
    for name, values in columns.items():
        outer, dot, rest = name.partition(".")
        if dot and outer and rest:
            inner.setdefault(outer, {})[rest] = values
        else:
            fields[name] = values
    for outer, parts in inner.items():
        fields.setdefault(outer, nested(parts))
    return pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
