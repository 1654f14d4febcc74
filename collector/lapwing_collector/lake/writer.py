"""The lake's single writer: rows become Parquet files, and one catalog transaction makes them all visible."""

import json
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.engine import identifier, literal
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.names import table_name
from lapwing_collector.lake.parquet import COMPRESSION, ROW_GROUP_ROWS, sync_file, sync_folder, write_parquet
from lapwing_collector.lake.shapes import EXACT_INTEGER, reconcile
from lapwing_collector.lake.shapes import Path as FieldPath
from lapwing_collector.lake.statements import statement
from lapwing_collector.lake.types import plain, sql_type
from lapwing_collector.model.alerts import MetricRow
from lapwing_collector.model.records import LOG_ROWS, ROWS, Batch, Kind

_SCHEMA_OF: Final = {Kind.PREDICTION: "predictions_all", Kind.LABEL: "labels", Kind.LOG: "main"}
_ROOTS: Final = {Kind.PREDICTION: ("inputs", "output"), Kind.LABEL: ("label",), Kind.LOG: ()}

_MERGE_TIERS_BYTES: Final = (1 << 20, 16 << 20)
"""Files below a tier are merged together; what they become is about the next tier's size."""
_MERGE_AT_LEAST: Final = 16

_STRINGS: Final = pa.map_(pa.string(), pa.string())
_TIME: Final = pa.timestamp("us")
_MODEL_ROWS: Final = pa.schema(
    [("model", pa.string()), ("version", pa.string()), ("table_name", pa.string()), ("first_seen", _TIME)]
)
_METRIC_ROWS: Final = pa.schema(
    [
        ("metric", pa.string()),
        ("model", pa.string()),
        ("series", _STRINGS),
        ("window_start", _TIME),
        ("window_end", _TIME),
        ("value", pa.float64()),
        ("sample_count", pa.int64()),
        ("label_coverage", pa.float64()),
        ("as_of", _TIME),
    ]
)


_ByTable = dict[tuple[Kind, str], list[Batch]]


@dataclass(frozen=True, slots=True)
class Progress:
    """What the lake's commits cover.

    Attributes:
        log: Position in the durable log up to which every entry's rows are in the lake.
        metrics: Number up to which queued metric rows are in the lake.
    """

    log: int = 0
    metrics: int = 0


@dataclass(frozen=True, slots=True)
class QueuedMetric:
    """A metric row on its way into the lake, with its number in the queue and the time it was computed."""

    number: int
    row: MetricRow
    as_of: datetime


@dataclass(slots=True)
class _Table:
    """A table as the catalog has it: where its files go, and the types of its root columns."""

    schema: str
    name: str
    folder: Path
    shape: dict[str, pa.DataType] = field(default_factory=dict)

    @property
    def sql_name(self) -> str:
        return f"{identifier(self.schema)}.{identifier(self.name)}"


@dataclass(frozen=True, slots=True)
class _Addition:
    """Rows for one table, already written to a file, and what the table's shape becomes with them."""

    table: _Table
    file: Path
    shape: dict[str, pa.DataType]


class Lake:
    """The lake in one folder, open for writing by its single owner.

    Every method may be called from any thread; commits and maintenance exclude each other.
    """

    def __init__(self, catalog: Catalog) -> None:
        """Use `open` instead."""
        self._catalog = catalog
        self._tables: dict[tuple[str, str], _Table] = {}
        self._names: dict[str, str] = {}
        self._versions: set[tuple[str, str | None]] = set()
        self._progress = Progress()
        self._unmergeable: dict[tuple[str, str, int], int] = {}

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the lake in `folder`, making it where there is none, and clear what a crash left behind.

        Raises:
            DataDirectoryError: The folder holds something else, or cannot be written.
        """
        catalog = Catalog.open(folder)
        try:
            catalog.rows(statement("schemas"))
            catalog.rows(statement("system_tables"))
            # For the files that merging writes.
            catalog.rows(f"CALL lake.set_option('parquet_compression', {literal(COMPRESSION)})")
            catalog.rows(f"CALL lake.set_option('parquet_row_group_size', {ROW_GROUP_ROWS})")
            lake = cls(catalog)
            lake._load()
            catalog.rows("CALL ducklake_delete_orphaned_files('lake', cleanup_all => true)")
        except (OSError, duckdb.Error) as error:
            raise DataDirectoryError(f"{catalog.folder}: the lake cannot be opened: {error}") from error
        return lake

    @property
    def catalog(self) -> Catalog:
        """What whoever else commits to the lake goes through."""
        return self._catalog

    @property
    def progress(self) -> Progress:
        """What the newest commit covers."""
        return self._progress

    def table_name(self, model: str) -> str:
        """The table of a model that has rows."""
        return self._names[model]

    def flush(self, batches: Sequence[Batch], metrics: Sequence[QueuedMetric], progress: Progress) -> None:
        """Write everything in one transaction that also says what it covers: all becomes visible, or nothing.

        Args:
            batches: Rows in order of arrival.
            metrics: Results of `record:` rules.
            progress: What the lake covers with these rows.

        Raises:
            OSError: The disk is full, or refuses.
            duckdb.Error: The catalog refuses.
        """
        if not batches and not metrics:
            return
        with self._catalog.exclusive():
            by_table = _by_table(batches)
            names = self._name_models(by_table)
            self._create_missing(by_table, names)
            additions: list[_Addition] = []
            try:
                for (kind, model), rows in by_table.items():
                    additions.append(self._stage_batches(kind, names.get(model, ""), rows))
                news = self._new_versions(by_table, names)
                if news.num_rows:
                    additions.append(self._stage("models", news))
                if metrics:
                    additions.append(self._stage("metric_values", _metric_rows(metrics)))
                with self._catalog.transaction():
                    for addition in additions:
                        self._add(addition)
                    extra_info = json.dumps({"log": progress.log, "metrics": progress.metrics})
                    self._catalog.rows(
                        "CALL lake.set_commit_message('lapwing', 'flush', extra_info => ?)", [extra_info]
                    )
            except BaseException:
                if self._committed_progress() != progress:
                    for addition in additions:
                        addition.file.unlink(missing_ok=True)
                    raise
            for addition in additions:
                addition.table.shape = addition.shape
            self._names.update(names)
            self._versions.update((row["model"], row["version"]) for row in news.to_pylist())
            self._progress = progress

    def merge_small_files(self) -> int:
        """Merge small files of one table that has many.

        Files are merged in tiers, so that each row is rewritten a few times at most.

        Returns:
            The number of files merged away; 0 when no table has enough of them.
        """
        with self._catalog.exclusive():
            for tier_bytes in _MERGE_TIERS_BYTES:
                crowded = self._catalog.rows(
                    statement("small_files", below=str(tier_bytes), at_least=str(_MERGE_AT_LEAST))
                )
                for schema, name, files in crowded:
                    tried = self._unmergeable.get((schema, name, tier_bytes), 0)
                    if files - tried < _MERGE_AT_LEAST:
                        continue  # DuckLake merges only files of one shape; nothing new since the last try
                    merged = self._merge(schema, name, tier_bytes)
                    self._unmergeable[schema, name, tier_bytes] = 0 if merged else files
                    if merged:
                        return merged
            return 0

    def set_reference(
        self,
        model: str,
        reference: str,
        *,
        source: str,
        sample_count: int,
        bins: pa.Table,
        created_at: datetime,
    ) -> None:
        """Keep the frozen `bins` (columns of `reference_bins` from `field` on) as a reference of `model`.

        A reference of the same name is replaced.
        """
        one_set = pa.Table.from_pylist(
            [
                {
                    "model": model,
                    "reference": reference,
                    "source": source,
                    "sample_count": sample_count,
                    "created_at": created_at,
                }
            ],
            schema=self._catalog.schema("reference_sets"),
        )
        schema = self._catalog.schema("reference_bins")
        rows = bins.num_rows
        full = bins.append_column("model", pa.array([model] * rows)).append_column(
            "reference", pa.array([reference] * rows)
        )
        with self._catalog.exclusive():
            additions = [
                self._stage("reference_sets", one_set),
                self._stage("reference_bins", full.select(schema.names).cast(schema)),
            ]
            with self._catalog.transaction():
                for addition in additions:
                    self._catalog.rows(
                        f"DELETE FROM {addition.table.sql_name} WHERE model = ? AND reference = ?",
                        [model, reference],
                    )
                    self._add(addition)

    def close(self) -> None:
        """Let go of the lake; closing twice is harmless."""
        self._catalog.close()

    def _load(self) -> None:
        for model, version, name in self._catalog.rows("SELECT model, version, table_name FROM models"):
            self._names[model] = name
            self._versions.add((model, version))
        self._progress = self._committed_progress()

    def _committed_progress(self) -> Progress:
        newest = self._catalog.rows(statement("commit_progress"))
        return Progress(**json.loads(newest[0][0])) if newest else Progress()

    def _name_models(self, by_table: _ByTable) -> dict[str, str]:
        taken = {name.lower() for name in self._names.values()}
        names = {}
        for kind, model in by_table:
            if kind is Kind.LOG or model in names:
                continue
            names[model] = self._names.get(model) or table_name(model, taken)
            taken.add(names[model].lower())
        return names

    def _create_missing(self, by_table: _ByTable, names: dict[str, str]) -> None:
        """Create tables and views ahead of the flush: empty ones do no harm, and have a folder."""
        wanted = {(kind, "logs" if kind is Kind.LOG else names[model]) for kind, model in by_table}
        missing = [(kind, name) for kind, name in wanted if self._describe(_SCHEMA_OF[kind], name) is None]
        if not missing:
            return
        with self._catalog.transaction():
            for kind, name in missing:
                columns = ", ".join(f"{identifier(f.name)} {sql_type(f.type)}" for f in ROWS[kind])
                self._catalog.rows(f"CREATE TABLE {_SCHEMA_OF[kind]}.{identifier(name)} ({columns})")
                if kind is Kind.PREDICTION:
                    self._replace_views(name)

    def _describe(self, schema: str, name: str) -> _Table | None:
        known = self._tables.get((schema, name))
        if known is not None:
            return known
        folder = self._catalog.table_folder(schema, name)
        if folder is None:
            return None
        table = _Table(schema, name, folder)
        roots = {root for roots in _ROOTS.values() for root in roots}
        table.shape = {f.name: plain(f.type) for f in self._catalog.schema(table.sql_name) if f.name in roots}
        self._tables[schema, name] = table
        return table

    def _table(self, schema: str, name: str) -> _Table:
        table = self._describe(schema, name)
        assert table is not None, f"{schema}.{name} was created before"  # noqa: S101  # an invariant of this class
        return table

    def _stage_batches(self, kind: Kind, name: str, batches: Sequence[Batch]) -> _Addition:
        if kind is Kind.LOG:
            rows = pa.Table.from_batches([batch.rows for batch in batches], LOG_ROWS)
            return self._stage("logs", rows)
        table = self._table(_SCHEMA_OF[kind], name)
        reconciled = reconcile(
            batches, table.shape, stored_integers_exact=lambda path: self._integers_exact(table, path)
        )
        return self._write(table, reconciled.rows, reconciled.shape)

    def _stage(self, name: str, rows: pa.Table) -> _Addition:
        table = self._table("main", name)
        return self._write(table, rows, table.shape)

    def _write(self, table: _Table, rows: pa.Table, shape: dict[str, pa.DataType]) -> _Addition:
        file = table.folder / f"{uuid.uuid4()}.parquet"
        write_parquet(file, rows)
        return _Addition(table, file, shape)

    def _add(self, addition: _Addition) -> None:
        table = addition.table
        new_columns = False
        for root, kind in addition.shape.items():
            if root not in table.shape:
                self._catalog.rows(f"ALTER TABLE {table.sql_name} ADD COLUMN {root} {sql_type(kind)}")
                new_columns = True
            elif kind != table.shape[root]:
                self._catalog.rows(
                    f"ALTER TABLE {table.sql_name} ALTER {root} SET DATA TYPE {sql_type(kind)}"
                )
        if new_columns:
            self._replace_views(table.name)
        self._catalog.rows(
            "CALL ducklake_add_data_files('lake', ?, ?, schema => ?)",
            [table.name, str(addition.file), table.schema],
        )

    def _replace_views(self, name: str) -> None:
        if not self._has("predictions_all", name):
            return
        table = identifier(name)
        self._catalog.rows(statement("production_view", table=table))
        labeled = "labeled_view" if self._has("labels", name, "label") else "unlabeled_view"
        self._catalog.rows(statement(labeled, table=table))

    def _has(self, schema: str, name: str, column: str = "time") -> bool:
        """Whether the table has the column, as seen from inside the running transaction."""
        try:
            self._catalog.rows(f"SELECT {column} FROM {identifier(schema)}.{identifier(name)} LIMIT 0")
        except (duckdb.CatalogException, duckdb.BinderException):
            return False
        return True

    def _integers_exact(self, table: _Table, path: FieldPath) -> bool:
        column = ".".join(identifier(part) for part in path)
        column = f"unnest({column})" if pa.types.is_list(_type_at(table.shape, path)) else column
        [(inexact,)] = self._catalog.rows(
            f"SELECT count(*) FROM (SELECT {column} AS n FROM {table.sql_name}) "
            f"WHERE n NOT BETWEEN -{EXACT_INTEGER} AND {EXACT_INTEGER}"
        )
        return bool(inexact == 0)

    def _new_versions(self, by_table: _ByTable, names: dict[str, str]) -> pa.Table:
        first_seen: dict[tuple[str, str | None], datetime] = {}
        for (kind, model), batches in by_table.items():
            for rows in (batch.rows for batch in batches):
                if kind is Kind.PREDICTION:
                    first = _first_times(rows)
                else:  # labels alone make a model known too; they have no version
                    unknown = kind is Kind.LABEL and model not in self._names
                    first = {None: pc.min(rows.column("time")).as_py()} if unknown else {}
                for version, time in first.items():
                    if (model, version) not in self._versions:
                        first_seen[model, version] = min(time, first_seen.get((model, version), time))
        return pa.Table.from_pylist(
            [
                {"model": model, "version": version, "table_name": names[model], "first_seen": seen}
                for (model, version), seen in first_seen.items()
            ],
            schema=_MODEL_ROWS,
        )

    def _merge(self, schema: str, name: str, tier_bytes: int) -> int:
        folder = self._table(schema, name).folder
        with self._catalog.transaction():
            before = set(folder.glob("*.parquet"))
            merged = self._catalog.rows(
                "CALL ducklake_merge_adjacent_files('lake', ?, schema => ?, max_file_size => ?)",
                [name, schema, tier_bytes],
            )
            for file in set(folder.glob("*.parquet")) - before:
                sync_file(file)
            sync_folder(folder)
        return sum(row[2] for row in merged)


def _by_table(batches: Sequence[Batch]) -> _ByTable:
    by_table: _ByTable = defaultdict(list)
    for batch in batches:
        by_table[batch.kind, batch.model].append(batch)
    return by_table


def _first_times(rows: pa.RecordBatch) -> dict[str | None, datetime]:
    """The earliest event time of each version."""
    grouped = pa.table({"version": rows.column("version"), "time": rows.column("time")})
    earliest = grouped.group_by("version").aggregate([("time", "min")])
    return dict(
        zip(earliest.column("version").to_pylist(), earliest.column("time_min").to_pylist(), strict=True)
    )


def _type_at(shape: dict[str, pa.DataType], path: FieldPath) -> pa.DataType:
    kind: Any = shape[path[0]]
    for part in path[1:]:
        kind = kind.field(part).type
    return kind


def _metric_rows(metrics: Sequence[QueuedMetric]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "metric": metric.row.metric,
                "model": metric.row.model,
                "series": list(metric.row.series.items()),
                "window_start": metric.row.window_start,
                "window_end": metric.row.window_end,
                "value": metric.row.value,
                "sample_count": metric.row.sample_count,
                "label_coverage": metric.row.label_coverage,
                "as_of": metric.as_of,
            }
            for metric in metrics
        ],
        schema=_METRIC_ROWS,
    )
