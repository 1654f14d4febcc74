"""Rows for people and for scripts.

What users logged never steers the terminal of who looks at it: it is escaped there, while files and pipes get
it as it is.
"""

import re
import sys
from enum import StrEnum
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Final

from lapwing_collector.logs import escaped
from lapwing_collector.model.queries import Answer, Format

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_ROWS: Final = 100
"""Rows a table on a terminal shows."""
_WHOLE: Final = 1e6
"""Numbers from which on six digits would cut off more than a fraction."""
_LONG: Final = 8
"""Characters up to which a number stays as it is."""
_KEPT: Final = "\\\n\t"
"""What harms no terminal, and is easier to read as it is."""
_KEPT_IN_LINES: Final = "\\"
_UNESCAPED: Final = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What JSON need not escape, but terminals had better not get."""


class Output(StrEnum):
    """How to print rows."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"

    @property
    def rows(self) -> Format:
        """The format in which the rows come; a table is made of columns."""
        return Format.ARROW if self is Output.TABLE else Format(self.value)


def write_answer(answer: Answer, output: Output, *, records: bool = False) -> None:
    """Write the rows of `answer` to standard output; that there are more is said on standard error."""
    if output is Output.TABLE:
        write_table(answer.table(), records=records, all_of_it="--expanded")
    elif sys.stdout.isatty() and output in {Output.CSV, Output.JSON}:
        write_text(b"".join(answer).decode(errors="replace"), as_json=output is Output.JSON)
    else:
        for piece in answer:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    if answer.truncated:
        print(  # noqa: T201  # said to people, beside the rows
            f"lapwing: these are the first {answer.rows:,} rows; there are more, see --limit, "
            "query.max_rows and query.max_bytes",
            file=sys.stderr,
        )


def write_text(text: str, *, as_json: bool = False) -> None:
    """Write text to standard output; on a terminal, JSON stays JSON and anything else is escaped."""
    if sys.stdout.isatty():
        if as_json:
            text = _UNESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        else:
            text = printable(text.replace("\r\n", "\n"))
    sys.stdout.write(text)
    sys.stdout.flush()


def printable(text: str) -> str:
    """`text` that a terminal shows and does not obey; lines stay lines."""
    return escaped(text, keep=_KEPT)


def write_table(rows: "pa.Table", *, records: bool = False, all_of_it: str = "--json") -> None:
    """Print rows as a table that fits the terminal, a line each; where there is none, nothing is cut.

    Args:
        rows: Those.
        records: Print a block of lines for each row instead.
        all_of_it: The option that prints the columns that do not fit.
    """
    import pyarrow as pa

    from lapwing_collector.cli.table import Column, expanded, fitted
    from lapwing_collector.query import cells

    texts: list[list[str]] = [[] for _ in rows.schema]
    kept = _KEPT if records else _KEPT_IN_LINES
    for batch in rows.slice(0, _MOST_ROWS).to_batches():
        for row in cells(batch):
            for column, cell in zip(texts, row, strict=True):
                column.append(escaped(_short(cell), keep=kept))
    columns = [
        Column(
            escaped(field.name, keep=_KEPT_IN_LINES),
            column,
            pa.types.is_integer(field.type) or pa.types.is_floating(field.type),
        )
        for field, column in zip(rows.schema, texts, strict=True)
    ]
    width = get_terminal_size().columns if sys.stdout.isatty() else None
    lines, left_out = (expanded(columns, width), 0) if records else fitted(columns, width)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    told = []
    if rows.num_rows > _MOST_ROWS:
        told.append(f"first {_MOST_ROWS} of {rows.num_rows:,} rows; --format csv or json prints them all")
    if left_out:
        told.append(f"{len(columns) - left_out} of {len(columns)} columns; {all_of_it} prints them all")
    sys.stdout.writelines(f"{line}\n" for line in told)
    sys.stdout.flush()


def _short(cell: str | float) -> str:
    """A cell for the eye: of a fraction six digits, which is what fits; other formats have all of them."""
    text = str(cell)
    if isinstance(cell, float) and abs(cell) < _WHOLE and len(text) > _LONG:
        return f"{cell:.6g}"
    return text


def write_parts(rows: "pa.Table") -> None:
    """Print what stands behind a query, as SQL."""
    from lapwing_collector.query import Part, script

    parts = [Part(row["part"], row["name"], row["sql"]) for row in rows.to_pylist()]
    write_text((script(parts) or "-- this query calls no metric") + "\n")
