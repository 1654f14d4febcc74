"""Runs of the gate, as the lake keeps them."""

from typing import Final

import pyarrow as pa

_TIME = pa.timestamp("us")

EVALUATION_ROWS: Final = pa.schema(
    [
        ("evaluation_id", pa.string()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("passed", pa.bool_()),
        ("started_at", _TIME),
        ("seconds", pa.float64()),
        ("evaluated_by", pa.string()),
        ("rules", pa.list_(pa.string())),
        ("data", pa.string()),
        ("reference", pa.string()),
        ("against", pa.string()),
        ("window_start", _TIME),
        ("window_end", _TIME),
        ("sample_count", pa.int64()),
        ("label_count", pa.int64()),
        ("document", pa.json_(pa.string())),
    ]
)
"""`document` is all of a run, as `lapwing evaluate --json` writes it."""
