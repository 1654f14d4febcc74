"""Notes on the time axis, as the lake keeps them."""

from typing import Final

import pyarrow as pa

_TIME = pa.timestamp("us")

KINDS: Final = ("note", "deployment")

ANNOTATION_ROWS: Final = pa.schema(
    [
        ("time", _TIME),
        ("ended_at", _TIME),
        ("kind", pa.string()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("text", pa.string()),
        ("author", pa.string()),
        ("created_at", _TIME),
    ]
)
"""`model` is null for what concerns all of them, `ended_at` for a moment."""
