"""A query on its way to the lake and back: what is asked, what is answered, how it is called off."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from operator import attrgetter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ROWS: Final = 1_000_000
MAX_BYTES: Final = 128 * 1024 * 1024


class Format(StrEnum):
    """How rows are written."""

    JSON = "json"
    COLUMNS = "columns"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class Ask:
    """One query.

    Attributes:
        sql: One SELECT; parameters are written `$name`.
        parameters: Their values; times as naive UTC datetimes, which DuckDB can prune files by.
        fmt: How to write the rows.
        max_rows: Rows of the answer beyond which it is cut.
        max_bytes: Bytes of the answer, as Arrow holds it, beyond which it is cut.
        whole: An answer that would be cut is an error instead.
        explain: Tell what stands behind the metrics that it calls, rather than answer it.
        plain: The answer is read by `Answer.plain`, in whatever form that is quickest.
    """

    sql: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    fmt: Format = Format.ARROW
    max_rows: int = MAX_ROWS
    max_bytes: int = MAX_BYTES
    whole: bool = False
    explain: bool = False
    plain: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to a query process in a third of the time that a dataclass takes by itself."""
        return Ask, _values_of(self)


_values_of: Final = attrgetter(*(each.name for each in fields(Ask)))


@dataclass(frozen=True, slots=True)
class Plain:
    """Some rows, as values of Python.

    Attributes:
        columns: Name and type of each column, types as Arrow names them.
        rows: The values of each row, in the order of the columns.
    """

    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Any]]

    @classmethod
    def of(cls, table: "pa.Table") -> Self:
        """The rows of a table.

        Raises:
            ValueError: Python has no type for a value.
            OverflowError: The same.
        """
        columns = [(field.name, str(field.type)) for field in table.schema]
        return cls(columns, list(zip(*(column.to_pylist() for column in table.columns), strict=True)))


class Answer:
    """The rows of a query, on their way out of its process.

    The process is held until every byte was taken or the answer is closed, so use it in a `with` block.

    Attributes:
        rows: How many there are.
        truncated: Whether there were more than the limits let through.
        incomplete: Whether a damaged file was set aside for this query, so that its rows may be missing.
        whole: All that it hands out, where that is short and here already.
    """

    def __init__(
        self,
        rows: int,
        truncated: bool,
        pieces: Iterator[bytes],
        close: Callable[[], None],
        whole: bytes | None = None,
    ) -> None:
        """Hand out `pieces`; `close` is called once nobody wants more."""
        self.rows = rows
        self.whole = whole
        self.truncated = truncated
        self.incomplete = False
        self._pieces = pieces
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        """The rows, written in the format that was asked for, piece by piece."""
        return self._pieces

    def table(self) -> "pa.Table":
        """The rows of an answer in the format `arrow`."""
        import pyarrow as pa  # noqa: PLC0415  # half of what `lapwing --help` took

        return pa.ipc.open_stream(pa.py_buffer(b"".join(self._pieces))).read_all()

    def plain(self) -> Plain:
        """The rows of an answer that was asked for as plain ones.

        Raises:
            ValueError: Python has no type for a value.
            OverflowError: The same.
        """
        data = b"".join(self._pieces)
        if not data.startswith(b"{"):
            self._pieces = iter((data,))
            return Plain.of(self.table())
        told = json.loads(data)
        return Plain([(name, kind) for name, kind in told["columns"]], told["rows"])

    def close(self) -> None:
        """Want no more; closing twice is harmless."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Cancellation:
    """Lets another thread end a query, wherever it is: waiting, running or being read."""

    def __init__(self) -> None:
        """Nothing is cancelled yet."""
        self._lock = threading.Lock()
        self._cancelled = False
        self._end: Callable[[], None] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the query is wanted no more."""
        return self._cancelled

    def cancel(self) -> None:
        """Want the query no more."""
        with self._lock:
            self._cancelled = True
            if self._end is not None:
                self._end()

    def ends_by(self, end: Callable[[], None] | None) -> None:
        """Say how the query is ended from now on; it is at once if it is cancelled already."""
        with self._lock:
            self._end = end
            if self._cancelled and end is not None:
                end()
