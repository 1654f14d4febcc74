"""Sets, lists and removes references, in the process that owns the data directory."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from lapwing_collector.config.documents import parse_duration
from lapwing_collector.engine import literal
from lapwing_collector.errors import ConfigError
from lapwing_collector.lake import Lake
from lapwing_collector.lake.files import TableName, table_files
from lapwing_collector.lake.freezing import Freezing, NewBins
from lapwing_collector.lake.rewriting import Rewriter
from lapwing_collector.lake.tables import Tables
from lapwing_collector.metrics import (
    columns_of,
    countable_fields,
    countable_places,
    field_names,
    freeze,
    reference_rows,
)
from lapwing_collector.model.profiles import REFERENCE_BIN_ROWS, REFERENCE_SET_ROWS, Binning

MOST_ROWS: Final = 5_000_000
"""Rows of a reference: the values of one field are in memory at a time."""

ROLES: Final = ("drift", "conditions")

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
    """

    model: str
    name: str
    role: str
    source: str
    file: str | None = None
    window: tuple[str, str] | None = None
    policy: Mapping[str, Any] | None = None

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
        if role not in ROLES:
            raise ConfigError(f"a reference is for {' or '.join(ROLES)}, not for {role!r}")
        match [arguments.get(key) for key in ("file", "window", "policy")]:
            case [str(file), None, None] if Path(file).is_absolute():
                return cls(model, name, role, source, file=file)
            case [None, [str(first), str(last)], None]:
                if not _time(first) < _time(last):
                    raise ConfigError(f"a window ends after it begins, not {first} to {last}")
                return cls(model, name, role, source, window=(first, last))
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

    def keep(self, wanted: Wanted, at: datetime) -> dict[str, Any]:
        """Keep a new version of a reference; what it was made of is not needed any more.

        Raises:
            ConfigError: Its rows cannot be read, or are none.
            ConflictError: Files left the model's table while they were read.
        """
        if wanted.policy is not None:
            table = self._lake.reserved_name(wanted.model)
            version = self._next_version(wanted)
            row = _set_row(wanted, table, version, None, at)
            self._lake.add_rows({"reference_sets": pa.Table.from_pylist([row], REFERENCE_SET_ROWS)})
            return {"version": version, "fields": 0, "rows": 0}
        if wanted.file is not None:
            return self._from_file(wanted, Path(wanted.file), at)
        with TemporaryFile(dir=self._spool) as file:  # without a name: nothing is left of it after a crash
            self._write_window(wanted, file)
            return self._from_file(wanted, file, at)

    def remove(self, model: str, name: str, version: int | None) -> dict[str, Any]:
        """Forget a reference, or one version of it; bins that were made of it stay.

        Raises:
            ConfigError: There is none.
        """
        found = self._versions(model, name)
        gone = found if version is None else [each for each in found if each == version]
        if not gone:
            raise ConfigError(_unknown(model, name, version))
        condition = "model = $model AND reference = $name AND list_contains($versions, version)"
        parameters = {"model": model, "name": name, "versions": gone}
        for each in _TABLES:
            table = TableName("main", each)
            files = table_files(self._lake.catalog, table)
            if files:
                keep = f"NOT ({condition})"
                self._rewriter.rewrite(table, files, keep=keep, parameters=parameters)
        return {"versions": gone}

    def _from_file(self, wanted: Wanted, source: Path | IO[bytes], at: datetime) -> dict[str, Any]:
        table = self._lake.reserved_name(wanted.model)
        try:
            file = pq.ParquetFile(source)
            rows = file.metadata.num_rows
            if not rows:
                raise ConfigError(f"{wanted.source}: has no rows")
            _check_size(wanted, rows)
            binnings = self._freezing.binnings(table)
            whose = f"{table}@{wanted.name}@{at.isoformat()}"
            known, categories = self._known_fields(table), self._freezing.categories(table)
            made, bins = self._described(file, known, binnings, whose, categories)
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(f"{wanted.source}: cannot be read as Parquet: {error}") from error
        if not bins:
            raise ConfigError(f"{wanted.source}: no column holds numbers, texts or booleans of a field")
        version = self._next_version(wanted)
        owner = {"model": wanted.model, "table_name": table, "reference": wanted.name, "version": version}
        self._freezing.begin(
            NewBins(wanted.model, table, made, (), f"{wanted.name}:{version}", at),
            {
                "reference_sets": pa.Table.from_pylist(
                    [_set_row(wanted, table, version, rows, at)], REFERENCE_SET_ROWS
                ),
                "reference_bins": pa.Table.from_pylist([each | owner for each in bins], REFERENCE_BIN_ROWS),
            },
        )
        return {"version": version, "fields": len(bins), "rows": rows}

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

    def _known_fields(self, table: str) -> set[str]:
        name = ("predictions_all", table)
        found = Tables(self._lake.catalog).find([name])
        return set(countable_fields(found[name].shape)) if found else set()

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
        columns = ", ".join([*found["predictions_all", table].shape, "duration_ms", "label"])
        sql = f"SELECT {columns} FROM {name.sql} {within}"
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
        "has_rows": False,
    }


def _unknown(model: str, name: str, version: int | None) -> str:
    which = f"reference {name!r}" if version is None else f"version {version} of reference {name!r}"
    return f"{model} has no {which}; `lapwing reference list` shows those there are"


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"expected a time such as 2026-01-31T12:00, not {text!r}") from error
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _seconds(span: str, least: timedelta) -> int:
    try:
        length = parse_duration(span)
    except ValueError as error:
        raise ConfigError(f"expected a duration such as 28d, not {span!r}") from error
    if length < least:
        raise ConfigError(f"expected at least {least}, not {span}")
    return round(length.total_seconds())
