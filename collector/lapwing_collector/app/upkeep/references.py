"""Sets, lists and removes references, in the process that owns the data directory."""

import difflib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from lapwing_collector.app.upkeep.reference_rows import ReferenceRows, Whose
from lapwing_collector.clock import read_utc
from lapwing_collector.config.documents import parse_duration
from lapwing_collector.engine import identifier, literal
from lapwing_collector.errors import ConfigError, reason
from lapwing_collector.lake import Lake
from lapwing_collector.lake.files import TableName, table_files
from lapwing_collector.lake.freezing import Freezing, NewBins
from lapwing_collector.lake.rewriting import Rewriter
from lapwing_collector.lake.shapes import leaves
from lapwing_collector.lake.tables import Tables
from lapwing_collector.metrics import (
    ORDER,
    columns_of,
    countable_places,
    field_names,
    file_places,
    freeze,
    is_number,
    is_text,
    reference_rows,
)
from lapwing_collector.model.description import dotted, parts
from lapwing_collector.model.profiles import (
    REFERENCE_BIN_ROWS,
    REFERENCE_ROWS,
    REFERENCE_SET_ROWS,
    Binning,
)
from lapwing_collector.model.records import PREDICTION_ROWS

MOST_ROWS: Final = 5_000_000
"""Rows of a reference: the values of one field are in memory at a time."""

ROLES: Final = ("drift", "conditions")

_TOLD: Final = 10
"""Columns that are named in a warning."""

_TABLES: Final = ("reference_bins", "reference_sets")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A reference to be set.

    Attributes:
        model: Whose.
        name: What to call it.
        role: What it is for.
        source: Where its values are from, for people.
        file: A Parquet file with its rows, if they come from one.
        window: First and last time of the predictions that it is made of, the last excluded, if it is.
        policy: Which rows of the profile it is, at any time, if it is one.
        keeps_rows: Whether rows of it are kept beside its counts, as many as there is room for.
    """

    model: str
    name: str
    role: str
    source: str
    file: str | None = None
    window: tuple[str, str] | None = None
    policy: Mapping[str, Any] | None = None
    keeps_rows: bool = True

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Wanted":
        """Read it as it came from a command.

        Raises:
            ConfigError: It is not a reference that can be set.
        """
        match arguments:
            case {"model": str(model), "name": str(name), "role": str(role), "source": str(source)} if (
                model and name
            ):
                pass
            case _:
                raise ConfigError("reference: expected the texts `model`, `name`, `role` and `source`")
        keeps_rows = arguments.get("keeps_rows", True) is not False
        if role not in ROLES:
            raise ConfigError(f"a reference is for {' or '.join(ROLES)}, not for {role!r}")
        match [arguments.get(key) for key in ("file", "window", "policy")]:
            case [str(file), None, None] if Path(file).is_absolute():
                return cls(model, name, role, source, file=file, keeps_rows=keeps_rows)
            case [None, [str(first), str(last)], None]:
                if not _time(first) < _time(last):
                    raise ConfigError(f"a window ends after it begins, not {first} to {last}")
                return cls(model, name, role, source, window=(first, last), keeps_rows=keeps_rows)
            case [None, None, {"kind": "rolling" | "same_hours", "seconds": int(seconds)} as policy] if (
                seconds > 0
            ):
                return cls(model, name, role, source, policy=policy)
        raise ConfigError("reference: expected the absolute path `file`, or `window`, or `policy`")


def rolling(span: str) -> dict[str, Any]:
    """The policy of whatever was in the time of this length before: `28d`.

    Raises:
        ConfigError: It is no duration.
    """
    return {"kind": "rolling", "seconds": _seconds(span, timedelta(hours=1))}


def same_hours(span: str) -> dict[str, Any]:
    """The policy of the same hours of the week in the weeks before: `4w`, `28d`.

    Raises:
        ConfigError: It is no number of weeks.
    """
    seconds = _seconds(span, timedelta(weeks=1))
    if timedelta(seconds=seconds) % timedelta(weeks=1):
        raise ConfigError(f"the same hours of whole weeks, such as 4w, not {span}")
    return {"kind": "same_hours", "seconds": seconds}


class References:
    """References of one lake; for one thread at a time, with nothing merged meanwhile."""

    def __init__(self, lake: Lake, rewriter: Rewriter, freezing: Freezing, spool: Path) -> None:
        """Wire the parts.

        Args:
            lake: Written.
            rewriter: Reads beside commits, and exchanges files.
            freezing: Begins to count fields that have no bins yet.
            spool: A folder that has room for the rows of a window while they are counted.
        """
        self._lake = lake
        self._rewriter = rewriter
        self._freezing = freezing
        self._spool = spool
        self._rows = ReferenceRows(lake, rewriter)

    def keep(self, wanted: Wanted, at: datetime) -> dict[str, Any]:
        """Keep a new version of a reference; what it was made of is not needed any more.

        Returns:
            Its `version`, how many `fields` and `rows` it is made of, how many rows are kept (`rows_kept`),
            and `warnings`: what is odd about it, for people.

        Raises:
            ConfigError: Its rows cannot be read, or are none.
            ConflictError: Files left the model's table while they were read.
        """
        warnings = self._unknown_model(wanted.model)
        if wanted.policy is not None:
            table = self._lake.reserved_name(wanted.model)
            version = self._next_version(wanted)
            row = _set_row(wanted, table, version, None, at)
            self._lake.add_rows({"reference_sets": pa.Table.from_pylist([row], REFERENCE_SET_ROWS)})
            return {"version": version, "fields": 0, "rows": 0, "rows_kept": 0, "warnings": warnings}
        if wanted.file is not None:
            return self._from_file(wanted, Path(wanted.file), at, warnings)
        with TemporaryFile(dir=self._spool) as file:  # without a name: nothing is left of it after a crash
            self._write_window(wanted, file)
            return self._from_file(wanted, file, at, warnings)

    def remove(self, model: str, name: str, version: int | None) -> dict[str, Any]:
        """Forget a reference, or one version of it; bins that were made of it stay.

        Raises:
            ConfigError: There is none.
        """
        gone = self._meant(model, name, version)
        self._rows.drop(self._lake.reserved_name(model), name, gone)
        condition = "model = $model AND reference = $name AND list_contains($versions, version)"
        parameters = {"model": model, "name": name, "versions": gone}
        for each in _TABLES:
            table = TableName("main", each)
            files = table_files(self._lake.catalog, table)
            if files:
                keep = f"NOT ({condition})"
                self._rewriter.rewrite(table, files, keep=keep, parameters=parameters)
        return {"versions": gone}

    def drop_rows(self, model: str, name: str, version: int | None) -> dict[str, Any]:
        """Forget the rows of a reference, or of one version of it; its counts and statistics stay.

        Returns:
            Its `versions`, and how many `rows` are gone.

        Raises:
            ConfigError: There is none.
        """
        versions = self._meant(model, name, version)
        return {
            "versions": versions,
            "rows": self._rows.drop(self._lake.reserved_name(model), name, versions),
        }

    def _from_file(
        self, wanted: Wanted, source: Path | IO[bytes], at: datetime, warnings: Sequence[str]
    ) -> dict[str, Any]:
        table = self._lake.reserved_name(wanted.model)
        version = self._next_version(wanted)
        try:
            file = pq.ParquetFile(source)
            rows = file.metadata.num_rows
            if not rows:
                raise ConfigError(f"{wanted.source}: has no rows")
            _check_size(wanted, rows)
            binnings = self._freezing.binnings(table)
            origin = f"{table}@{wanted.name}@{at.isoformat()}"
            known, categories = self._types(table), self._freezing.categories(table)
            _check_columns(wanted, file.schema_arrow, known)
            made, bins = self._described(file, known, binnings, origin, categories)
            if not bins:
                raise ConfigError(f"{wanted.source}: no column holds numbers, texts or booleans of a field")
            whose = Whose(wanted.model, table, wanted.name, version)
            kept = self._rows.write(whose, file, known) if wanted.keeps_rows else None
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"{wanted.source}: cannot be read as Parquet: {reason(error)}") from error
        owner = {"model": wanted.model, "table_name": table, "reference": wanted.name, "version": version}
        self._freezing.begin(
            NewBins(wanted.model, table, made, (), f"{wanted.name}:{version}", at),
            {
                "reference_sets": pa.Table.from_pylist(
                    [_set_row(wanted, table, version, rows, at)], REFERENCE_SET_ROWS
                ),
                "reference_bins": pa.Table.from_pylist([each | owner for each in bins], REFERENCE_BIN_ROWS),
            },
            written=[] if kept is None else [kept],
        )
        older = [each for each in self._versions(wanted.model, wanted.name) if each < version]
        self._rows.drop(table, wanted.name, older)
        return {
            "version": version,
            "fields": len(bins),
            "rows": rows,
            "rows_kept": 0 if kept is None else kept.written.footer.num_rows,
            "warnings": [*warnings, *_odd_columns(file.schema_arrow, known)],
        }

    def _described(
        self,
        file: pq.ParquetFile,
        known: Collection[str],
        binnings: Mapping[str, Binning],
        whose: str,
        categories: Collection[str],
    ) -> tuple[list[Binning], list[dict[str, Any]]]:
        """Bins of fields that have none, and what the reference keeps of each field; a field at a time."""
        made: list[Binning] = []
        bins: list[dict[str, Any]] = []
        places = countable_places(file.schema_arrow)
        for column, field in field_names(places, known).items():
            values = columns_of(file.read(columns=[".".join(places[column])]))[column]
            if field not in binnings:
                made += freeze(pa.table({field: values}), whose, categories)
            for binning in (*made[-1:], binnings.get(field)):
                if binning is not None and binning.field == field:
                    bins += reference_rows({field: values}, {field: binning}).to_pylist()
        return made, bins

    def _types(self, table: str) -> dict[str, pa.DataType]:
        """Types of the model's fields, by name."""
        name = ("predictions_all", table)
        found = Tables(self._lake.catalog).find([name])
        return {dotted(path): kind for path, kind in leaves((), found[name].shape)} if found else {}

    def _unknown_model(self, model: str) -> list[str]:
        names = self._lake.table_names
        if model in names:
            return []
        near = difflib.get_close_matches(model, names, n=3)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        return [f"no prediction of a model {model!r} has come yet{meant}"]

    def _meant(self, model: str, name: str, version: int | None) -> list[int]:
        """The versions that are meant: all, if none is named."""
        found = self._versions(model, name)
        meant = found if version is None else [each for each in found if each == version]
        if not meant:
            raise ConfigError(_unknown(model, name, version))
        return meant

    def _write_window(self, wanted: Wanted, file: IO[bytes]) -> None:
        assert wanted.window is not None  # noqa: S101  # the caller's choice
        table = self._lake.reserved_name(wanted.model)
        name = TableName("labeled", table)
        found = Tables(self._lake.catalog).find([TableName("predictions_all", table)])
        if not found:
            raise ConfigError(f"there is no model {wanted.model!r}; `lapwing models` lists those there are")
        first, last = (literal(_time(each).isoformat()) for each in wanted.window)
        within = f"WHERE time >= TIMESTAMP {first} AND time < TIMESTAMP {last}"
        production = TableName("predictions", table)
        counted = self._rewriter.read(f"SELECT count(*) AS n FROM {production.sql} {within}")
        _check_size(wanted, int(counted.column("n")[0].as_py()))
        kept = [each.name for each in REFERENCE_ROWS if each.name in PREDICTION_ROWS.names]
        kept.remove("extra")
        columns = ", ".join([*found["predictions_all", table].shape, *kept, "label"])
        sql = f"SELECT {columns}, hash(prediction_id) AS {identifier(ORDER)} FROM {name.sql} {within}"
        writer: pq.ParquetWriter | None = None
        try:
            for batch in self._rewriter.batches(sql):
                writer = writer or pq.ParquetWriter(file, batch.schema, compression="zstd")
                writer.write_table(batch)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise ConfigError(f"{wanted.source}: {wanted.model} has no production predictions there")

    def _next_version(self, wanted: Wanted) -> int:
        return max(self._versions(wanted.model, wanted.name), default=0) + 1

    def _versions(self, model: str, name: str) -> list[int]:
        found = self._lake.catalog.rows(
            "SELECT version FROM reference_sets WHERE model = ? AND reference = ? ORDER BY version",
            [model, name],
        )
        return [int(version) for (version,) in found]


def _check_size(wanted: Wanted, rows: int) -> None:
    if rows > MOST_ROWS:
        raise ConfigError(f"{wanted.source}: has {rows:,} rows; take {MOST_ROWS:,} of them by chance")


def _set_row(
    wanted: Wanted, table: str, version: int, sample_count: int | None, at: datetime
) -> dict[str, Any]:
    return {
        "model": wanted.model,
        "table_name": table,
        "reference": wanted.name,
        "version": version,
        "role": wanted.role,
        "source": wanted.source,
        "policy": None if wanted.policy is None else json.dumps(wanted.policy),
        "sample_count": sample_count,
        "created_at": at,
        "has_rows": wanted.policy is None and wanted.keeps_rows,
    }


def _check_columns(wanted: Wanted, columns: pa.Schema, known: Mapping[str, pa.DataType]) -> None:
    """Let no two columns of a file be one field.

    Raises:
        ConfigError: Two are.
    """
    twice = sorted(name for name, count in Counter(columns.names).items() if count > 1)
    if twice:
        raise ConfigError(f"{wanted.source}: has two columns {_some(twice)}: rename one, or leave it out")
    same: dict[str, list[str]] = {}
    for column, field in field_names(file_places(columns), known).items():
        same.setdefault(field, []).append(column)
    for field, named in same.items():
        if len(named) > 1:
            raise ConfigError(
                f"{wanted.source}: the columns {' and '.join(named)} are both {field}: leave one out"
            )


def _odd_columns(columns: pa.Schema, known: Mapping[str, pa.DataType]) -> list[str]:
    """What of a file the model never sent, or sends as something else; nothing before it sent anything."""
    if not known:
        return []
    kinds = {name: kind for name, (_, kind) in file_places(columns).items()}
    named = field_names(kinds, known)
    fields = {
        field: kinds[column]
        for column, field in named.items()
        if parts(field)[0] in {"inputs", "output"} and not pa.types.is_null(kinds[column])
    }
    absent = sorted(field for field in fields if field not in known)
    other = sorted(
        f"{field} ({_kind(kind)}, not {_kind(known[field])})"
        for field, kind in fields.items()
        if field in known and _kind(kind) != _kind(known[field])
    )
    told = []
    if absent:
        told.append(
            f"no prediction has brought {_some(absent)}: drift gives no verdict on what never comes; "
            "leave such columns out, or name them as the model does"
        )
    if other:
        told.append(
            f"predictions bring another type of {_some(other)}: values that do not fit are kept in `extra`, "
            "where no method compares them"
        )
    return told


def _kind(kind: pa.DataType) -> str:
    if is_number(kind):
        return "number"
    if is_text(kind) or pa.types.is_dictionary(kind):
        return "text"
    if pa.types.is_boolean(kind):
        return "boolean"
    return (
        "list"
        if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        else "other"
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_TOLD])
    return shown if len(names) <= _TOLD else f"{shown} and {len(names) - _TOLD} more"


def _unknown(model: str, name: str, version: int | None) -> str:
    which = f"reference {name!r}" if version is None else f"version {version} of reference {name!r}"
    return f"{model} has no {which}; `lapwing reference list` shows those there are"


def _time(text: str) -> datetime:
    try:
        return read_utc(text)
    except ValueError as error:
        raise ConfigError(f"expected a time such as 2026-01-31T12:00, not {text!r}") from error


def _seconds(span: str, least: timedelta) -> int:
    try:
        length = parse_duration(span)
    except ValueError as error:
        raise ConfigError(f"expected {error}") from error
    if length < least:
        raise ConfigError(f"expected at least {least}, not {span}")
    return round(length.total_seconds())
