"""Rows for people and for scripts."""

import csv
import json
import math
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_ROWS: Final = 100
"""Rows a table on a terminal shows."""


class Format(StrEnum):
    """How to print rows."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"


def write_rows(rows: "pa.Table", fmt: Format) -> None:
    """Write `rows` to standard output: a table, JSON, CSV, an Arrow IPC stream or a Parquet file."""
    match fmt:
        case Format.TABLE:
            _write_table(rows)
        case Format.JSON:
            json.dump([_plain(row) for row in rows.to_pylist()], sys.stdout, ensure_ascii=False, indent=1)
            sys.stdout.write("\n")
        case Format.CSV:
            writer = csv.writer(sys.stdout)
            writer.writerow(rows.column_names)
            writer.writerows([_text(value) for value in row.values()] for row in rows.to_pylist())
        case Format.ARROW:
            import pyarrow as pa

            with pa.ipc.new_stream(sys.stdout.buffer, rows.schema) as stream:
                stream.write_table(rows)
        case Format.PARQUET:
            import pyarrow as pa
            import pyarrow.parquet as pq

            sink = pa.BufferOutputStream()
            pq.write_table(rows, sink)
            sys.stdout.buffer.write(sink.getvalue())


def _write_table(rows: "pa.Table") -> None:
    import pyarrow as pa
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for field in rows.schema:
        numeric = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        table.add_column(Text(field.name), justify="right" if numeric else "left", overflow="fold")
    for row in rows.slice(0, _MOST_ROWS).to_pylist():
        # Text, not markup: whatever users log is shown as it is.
        table.add_row(*(Text(_text(value)) for value in row.values()))
    console = Console()
    console.print(table)
    if rows.num_rows > _MOST_ROWS:
        console.print(f"first {_MOST_ROWS} of {rows.num_rows:,} rows; --format csv or json prints them all")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list, tuple, bytes)):
        return json.dumps(_plain(value), ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _plain(value: Any) -> Any:
    """A value as JSON can hold it; maps, which Arrow gives as pairs, become objects."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            return {str(key): _plain(item) for key, item in value}
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    finite = not isinstance(value, float) or math.isfinite(value)
    return value if finite and isinstance(value, (bool, int, float, str, type(None))) else str(value)
