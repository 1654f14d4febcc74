"""Queries from Python: `lapwing.connect(…).sql(…)`, over HTTP or over a folder on this machine."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self, cast
from urllib.parse import urlsplit

from lapwing._notebook import MOST_ROWS, Model, chart, table_html
from lapwing._version import __version__

if TYPE_CHECKING:
    import ssl
    from contextlib import AbstractContextManager

    import altair as alt
    import pandas as pd
    import polars as pl
    import pyarrow as pa

_ARROW: Final = "application/vnd.apache.arrow.stream"
_HOST_AND_PORT: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+):\d+(/.*)?")
_MODELS: Final = """
SELECT model, table_name, count(DISTINCT version) AS versions, min(first_seen) AS first_seen
FROM models GROUP BY model, table_name ORDER BY model
"""
_CONNECT_S: Final = 10.0
_ANSWER_S: Final = 600.0
"""The server has a limit of its own, and says so when it is reached."""


class QueryError(Exception):
    """A query that was refused, failed or ran over its limits, or a lake that cannot be reached.

    Attributes:
        kind: For programs: `query-failed`, `query-refused`, `query-over-limit`, `unknown-name`, `busy`, …
        position: The character of the SQL where the mistake is, counted from 0; None where it is unknown.
        candidates: Names that may have been meant.
    """

    def __init__(
        self, message: str, kind: str = "", position: int | None = None, candidates: tuple[str, ...] = ()
    ) -> None:
        """Keep what the server said."""
        super().__init__(message)
        self.kind = kind
        self.position = position
        self.candidates = candidates


class Rows:
    """The rows of a query.

    Iterating gives a dict per row.
    """

    def __init__(self, table: "pa.Table") -> None:
        """Hold `table`."""
        self._table = table

    def arrow(self) -> "pa.Table":
        """The rows as an Arrow table."""
        return self._table

    def pandas(self) -> "pd.DataFrame":
        """The rows as a pandas DataFrame; sums of integers, which SQL has as decimals, as integers."""
        return _numbers(self._table).to_pandas()

    def polars(self) -> "pl.DataFrame":
        """The rows as a Polars DataFrame; sums of integers, which SQL has as decimals, as integers."""
        try:
            import polars  # noqa: ICN001, PLC0415  # heavy, and only some have it
        except ModuleNotFoundError as missing:
            raise ModuleNotFoundError(f"polars() needs Polars: pip install polars ({missing})") from missing
        return cast("pl.DataFrame", polars.from_arrow(_numbers(self._table)))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(_numbers(self._table).to_pylist(maps_as_pydicts="lossy"))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def chart(
        self,
        x: str,
        y: str,
        color: str | None = None,
        kind: Literal["line", "bar", "point", "area"] = "line",
    ) -> "alt.Chart":
        """The rows as an Altair chart, for notebooks.

            lake.sql("SELECT time, version, output.score AS score FROM …").chart("time", "score", "version")

        Args:
            x: The column from left to right.
            y: The column upwards.
            color: A column that tells lines apart.
            kind: What is drawn.

        Raises:
            ModuleNotFoundError: Altair is missing: `pip install 'lapwing[notebook]'`.
            ValueError: There is no such column.
        """
        return chart(_numbers(self._table), x, y, color, kind)

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {', '.join(self._table.column_names)}>"

    def _repr_html_(self) -> str:
        first = _numbers(self._table.slice(0, MOST_ROWS)).to_pylist(maps_as_pydicts="lossy")
        more = f"<p>{MOST_ROWS} of {len(self):,} rows</p>" if len(self) > MOST_ROWS else ""
        return table_html(self._table.column_names, first) + more


class Connection:
    """A lake that can be queried: `connect` makes it."""

    def __init__(self, lake: "_Lake", where: str) -> None:
        """Use `connect` instead."""
        self._lake = lake
        self._where = where

    def __repr__(self) -> str:
        return f"<lake at {self._where}>"

    def sql(self, query: str, /, **parameters: Any) -> Rows:
        """Answer one SELECT.

        Args:
            query: The SQL; parameters are written `$name`.
            parameters: Their values: text, numbers, times and lists of these. A time without a zone is UTC.

        Raises:
            QueryError: The SQL is refused or fails, runs over a limit, or there is no answer.
            ModuleNotFoundError: pyarrow is missing; the message says what to install.
        """
        return Rows(self._lake.answer(query, {name: _plain(value) for name, value in parameters.items()}))

    def models(self) -> Rows:
        """The models that there are: name, table, versions, and the time of the first row.

        Raises:
            QueryError: There is no answer.
        """
        return self.sql(_MODELS)

    def model(self, name: str) -> Model:
        """A model at a glance: what is known of it, and the versions of its last seven days.

        Raises:
            QueryError: There is no such model, or no answer.
        """
        found = Model.of(self.sql, name)
        if found is None:
            raise QueryError(f"there is no model {name!r}; models() lists those there are", "unknown-name")
        return found

    def set_reference(
        self,
        model: str,
        name: str,
        rows: Any = None,
        *,
        window: "tuple[datetime, datetime] | None" = None,
        rolling: str | None = None,
        same_hours: str | None = None,
        role: str = "drift",
        keep_rows: bool = True,
    ) -> int:
        """Keep what a model is compared with, as a new version of the reference `name`; its number.

            lapwing.connect("lapwing-data").set_reference("churn", "train", frame)

        One of `rows`, `window`, `rolling` and `same_hours` says what it is.

        Args:
            model: The model.
            name: What to call the reference.
            rows: A pandas or Polars DataFrame or an Arrow table, a row per prediction, its columns named by
                the fields.
            window: Production between two times; the last is left out. A time without a zone is UTC.
            rolling: Always what came in so much time before: `28d`.
            same_hours: Always the same hours of the week in so many weeks before: `4w`.
            role: What it is for: `drift`, or `conditions` of rules.
            keep_rows: Whether a sample of its rows is kept, for methods that look at values themselves.

        Raises:
            QueryError: It cannot be set, or the lake is not a folder on this machine.
            ModuleNotFoundError: pyarrow is missing; the message says what to install.
        """
        if sum(each is not None for each in (rows, window, rolling, same_hours)) != 1:
            raise QueryError("say what the reference is: one of rows, window, rolling and same_hours")
        spans = None if window is None else tuple(_plain(moment).isoformat() for moment in window)
        wanted = {
            "window": spans,
            "rolling": rolling,
            "same_hours": same_hours,
            "role": role,
            "keep_rows": keep_rows,
        }
        return self._lake.set_reference(model, name, None if rows is None else as_arrow(rows), wanted)

    def close(self) -> None:
        """Let go of the lake."""
        self._lake.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(
    where: str | os.PathLike[str],
    token: str | None = None,
    *,
    ca: str | os.PathLike[str] | None = None,
    certificate: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
) -> Connection:
    """Connect to a lake.

        lake = lapwing.connect("http://localhost:4319")
        lake.sql("SELECT version, count(*) AS n FROM predictions.churn GROUP BY 1").pandas()

    Args:
        where: The address of a collector (`web.listen` in its settings), or a data directory on this machine,
            which needs `pip install 'lapwing[collector]'`, and is read whether a collector runs or not.
        token: A bearer token with the scope `query`, where the collector asks for one.
        ca: File of the authorities to trust with an address of https; those of the system if None.
        certificate: File of the certificate to show, where the collector asks its clients for one.
        key: File of its key, where that is not in the same file.

    Raises:
        QueryError: There is no lake in the folder.
        OSError: A file of certificates or keys cannot be used.
        ValueError: There are certificates for what is no address of https.
        ModuleNotFoundError: What is needed is not installed; the message says what to install.
    """
    address = os.fspath(where)
    scheme = urlsplit(address).scheme
    files = [None if file is None else os.fspath(file) for file in (ca, certificate, key)]
    if scheme != "https" and any(files):
        raise ValueError(f"ca, certificate and key are for addresses that begin with https://, not {address}")
    if scheme in {"http", "https"}:
        told = re.sub("//[^/]*@", "//", address)  # what somebody logs in with is no part of where it is
        return Connection(_Http(address, token, _tls(*files) if any(files) else None), told)
    if _HOST_AND_PORT.fullmatch(address) and not Path(address).exists():
        raise QueryError(
            f"there is no folder {address}; a collector is asked at http://{address}", "unreachable"
        )
    return Connection(_Folder(Path(address)), address)


def _tls(*files: str | None) -> "ssl.SSLContext":
    from lapwing._tls import tls_context  # noqa: PLC0415  # whoever only logs need not load it

    return tls_context(*files)


class _Lake(Protocol):
    def answer(self, query: str, parameters: Mapping[str, Any]) -> "pa.Table": ...

    def set_reference(
        self, model: str, name: str, rows: "pa.Table | None", wanted: Mapping[str, Any]
    ) -> int: ...

    def close(self) -> None: ...


class _Http:
    """A collector that is asked over HTTP."""

    def __init__(self, address: str, token: str | None, tls: "ssl.SSLContext | None") -> None:
        import urllib3  # noqa: PLC0415  # whoever only logs need not load it

        self._url = address.rstrip("/") + "/api/v1/sql"
        self._headers = {
            "accept": _ARROW,
            "content-type": "application/json",
            "user-agent": f"lapwing-python/{__version__}",
        }
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._connections = urllib3.PoolManager(ssl_context=tls)

    def answer(self, query: str, parameters: Mapping[str, Any]) -> "pa.Table":
        import urllib3  # noqa: PLC0415

        pa = _pyarrow()
        told = {name: _as_json(name, value) for name, value in parameters.items()}
        body = json.dumps({"sql": query, "parameters": told, "format": "arrow", "overflow": "error"})
        try:
            response = self._connections.request(
                "POST",
                self._url,
                body=body.encode(),
                headers=self._headers,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=_ANSWER_S),
            )
            with response:
                if response.headers.get("content-type") == _ARROW:
                    return pa.ipc.open_stream(response).read_all()
                raise _refusal(self._url, response.status, response.read())
        except (urllib3.exceptions.HTTPError, OSError, pa.ArrowInvalid) as error:
            raise QueryError(f"{self._url} gives no answer: {_why(error)}", "unreachable") from error

    def set_reference(self, *_: object) -> int:
        raise QueryError(
            "references are set on the machine of the data directory: connect to its folder, or call "
            "`lapwing reference set` there",
            "query-refused",
        )

    def close(self) -> None:
        self._connections.clear()


class _Folder:
    """A data directory, read by a process of this machine."""

    def __init__(self, folder: Path) -> None:
        _pyarrow()
        try:
            from lapwing_collector.app.answers.asking import Asking  # noqa: PLC0415  # may be missing
            from lapwing_collector.errors import LapwingError  # noqa: PLC0415
        except ModuleNotFoundError as missing:
            raise ModuleNotFoundError(
                f"reading a folder needs the collector: pip install 'lapwing[collector]' ({missing})",
                name=missing.name,
            ) from missing
        self._folder = folder
        self._failed: type[Exception] = LapwingError
        try:
            self._asking = Asking.over_folder(folder)
        except LapwingError as error:
            raise QueryError(str(error), "unreachable") from error
        self._answer: Callable[..., AbstractContextManager[Any]] = self._asking.answer

    def answer(self, query: str, parameters: Mapping[str, Any]) -> "pa.Table":
        try:
            with self._answer(query, parameters, whole=True) as answer:
                return answer.table()
        except self._failed as error:
            raise _query_error(error) from error

    def set_reference(self, model: str, name: str, rows: "pa.Table | None", wanted: Mapping[str, Any]) -> int:
        from lapwing_collector.app.upkeep.keeping import set_reference_in  # noqa: PLC0415  # whoever only asks

        try:
            return set_reference_in(self._folder, model, name, rows, **wanted)
        except self._failed as error:
            raise _query_error(error) from error

    def close(self) -> None:
        self._asking.close()


_KINDS: Final = {
    "NotSeenYetError": "unknown-name",
    "RefusedQueryError": "query-refused",
    "QueryLimitError": "query-over-limit",
}


def _query_error(error: Exception) -> QueryError:
    kind = _KINDS.get(type(error).__name__, "query-failed")
    return QueryError(
        str(error), kind, getattr(error, "position", None), tuple(getattr(error, "candidates", ()))
    )


def _why(error: BaseException) -> str:
    """Why there is no answer, in words where it is known which help."""
    import socket  # noqa: PLC0415  # whoever only logs need not load it
    import ssl  # noqa: PLC0415

    cause = error.__cause__ or error.__context__ or error
    match cause:
        case ConnectionRefusedError():
            return "nothing listens there; does the collector run, and is this where its dashboard is?"
        case socket.gaierror():
            return "its name cannot be resolved"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {cause.verify_message}"
        case TimeoutError():
            return "no answer in time"
        case OSError(strerror=str(text)) if not isinstance(cause, ssl.SSLError):
            return text.lower()
        case _:
            return f"{type(error).__name__}: {error}"


def _refusal(url: str, status: int, body: bytes) -> QueryError:
    """What the server said instead of rows."""
    try:
        told = json.loads(body)
        detail, kind = str(told["detail"]), str(told["type"]).rpartition(":")[2]
    except (ValueError, KeyError, TypeError):
        return QueryError(
            f"{url} answers with status {status} and no rows: is this a collector? It is asked where its "
            "dashboard is, port 4319 by default, not where predictions are sent",
            "unreachable",
        )
    return QueryError(detail, kind, told.get("position"), tuple(told.get("candidates", ())))


def _plain(value: Any) -> Any:
    """A parameter as SQL knows it: times in UTC without a zone, values of NumPy and pandas as Python's."""
    if isinstance(value, datetime):
        if str(value) == "NaT":
            return None
        utc = value if value.tzinfo is None else value.astimezone(UTC)
        return datetime.combine(utc.date(), utc.time())
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001  # UTC, as everywhere
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value


def _as_json(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return {"timestamp": value.isoformat()}
    if isinstance(value, list):
        return [_as_json(name, item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"parameter {name}: expected text, a number, a time or a list of these, not {value!r}")


def as_arrow(rows: Any) -> "pa.Table":
    """A pandas or Polars DataFrame, or an Arrow table, as an Arrow table.

    Raises:
        ModuleNotFoundError: pyarrow is missing; the message says what to install.
    """
    pa = _pyarrow()
    if isinstance(rows, pa.Table):
        return rows
    if hasattr(rows, "to_arrow"):  # Polars
        return rows.to_arrow()
    return pa.Table.from_pandas(rows, preserve_index=False)


def _numbers(table: "pa.Table") -> "pa.Table":
    """`table` with whole decimals as 64-bit integers, where all fit."""
    pa = _pyarrow()
    for place, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            try:
                whole = table.column(place).cast(pa.int64())
            except pa.ArrowInvalid:
                continue
            table = table.set_column(place, field.with_type(pa.int64()), whole)
    return table


def _pyarrow() -> Any:
    try:
        import pyarrow as pa  # noqa: PLC0415  # heavy, and only some have it
        import pyarrow.ipc  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"queries need pyarrow: pip install 'lapwing[tables]' ({missing})", name=missing.name
        ) from missing
    return pa
