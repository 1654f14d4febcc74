"""The lake's writer: rows become Parquet files, and one catalog transaction makes them all visible.

In most lakes it is the only one. Where several collectors write to one lake, all that each has in mind is
checked in the transaction of its commit, and read anew and done again where another one has changed it.
"""

import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector import crashpoints
from lapwing_collector.engine import identifier, literal
from lapwing_collector.engine.place import Location, Place
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.lake.catalog import Catalog, ConflictingCommitError
from lapwing_collector.lake.definitions import Changes, define
from lapwing_collector.lake.expiry import delete_orphans
from lapwing_collector.lake.files import NewFile
from lapwing_collector.lake.format import lift
from lapwing_collector.lake.names import TableNames
from lapwing_collector.lake.profiles import Profiles
from lapwing_collector.lake.shapes import EXACT_INTEGER, leaves, reconcile
from lapwing_collector.lake.shapes import Path as FieldPath
from lapwing_collector.lake.sharing import (
    Lost,
    MovedError,
    RepeatedError,
    Seen,
    Version,
    sharing_of,
    without,
)
from lapwing_collector.lake.snapshots import DataFile, add_files
from lapwing_collector.lake.statements import statement
from lapwing_collector.lake.tables import Key, Table, Tables
from lapwing_collector.model.alerts import MetricRow
from lapwing_collector.model.profiles import BINNING_ROWS, GIVEN, Binning, Profiling
from lapwing_collector.model.records import LOG_ROWS, Batch, Kind

_SCHEMA_OF: Final = {Kind.PREDICTION: "predictions_all", Kind.LABEL: "labels", Kind.LOG: "main"}
_MODEL_SCHEMAS: Final = ("predictions_all", "labels")
REFERENCE_SCHEMA: Final = "reference_rows"
"""Where the rows of what models are compared with are, a table for each model."""

_FILES_AT_ONCE: Final = 4
"""More than cores, since writers wait for the disk."""

_ATTEMPTS: Final = 20
"""How often a flush is made anew because others changed the lake meanwhile, of which each has its turn."""

_OWN: Final = ("schemas", "system_tables", "system_views")
_MADE: Final = re.compile(r"^CREATE (?:SCHEMA|TABLE|VIEW) IF NOT EXISTS (\w+)", re.MULTILINE)
"""What the lake has before any model."""

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


Worked = TypeVar("Worked")

Destination = tuple[Kind, str]
"""Kind of rows and model: what decides on the table."""

DeclaredTypes = Mapping[str, Mapping[FieldPath, pa.DataType]]
"""Types of fields, by model."""


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


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows on their way into a table, in the shape that it has or is to have."""

    key: Key
    rows: pa.Table
    shape: Mapping[str, pa.DataType]


@dataclass(frozen=True, slots=True)
class _Staged:
    """Files on their way into the catalog; names, versions and shapes of the models that come with them."""

    files: list[DataFile]
    names: dict[str, str]
    versions: set[Version]
    shapes: dict[str, tuple[str, Mapping[str, pa.DataType], int]]

    @property
    def paths(self) -> list[Location]:
        """Where the files are."""
        return [file.path for file in self.files]


class Lake:
    """A lake, open for writing: by its single owner, or by one of several collectors.

    Every method may be called from any thread; commits and maintenance exclude each other.
    """

    def __init__(
        self, catalog: Catalog, declared: DeclaredTypes, profiling: Profiling | None, writer: str
    ) -> None:
        """Use `open` instead."""
        self._catalog = catalog
        self._sharing = sharing_of(catalog, writer)
        self._seen = Seen(-1, -1, -1, -1)
        self._widened: list[tuple[Table, FieldPath]] = []
        self._declared = declared
        self.profiles = None if profiling is None else Profiles(catalog, profiling)
        self._tables = Tables(catalog)
        self._files = ThreadPoolExecutor(_FILES_AT_ONCE, thread_name_prefix="lapwing-parquet")
        self._names: dict[str, str] = {}
        self._table_names = TableNames()
        self._inexact: set[tuple[int, FieldPath]] = set()
        self._versions: set[Version] = set()
        self._progress = Progress()
        self._in_doubt = False
        self._changes = 0
        self._profiled = False

    @classmethod
    def open(
        cls,
        where: Place | Path,
        declared: DeclaredTypes | None = None,
        *,
        profiling: Profiling | None = None,
        writer: str = "lapwing",
    ) -> Self:
        """Open a lake, making it where there is none, and clear what a crash left behind.

        Args:
            where: Where it is; a folder stands for a lake that is all in it.
            declared: Types that fields of models get when they appear, whatever their first values are.
            profiling: How the profiles of its models are counted. A lake that has some takes no predictions
                without.
            writer: Names this collector among those that write to a lake together, now and after it starts
                again.

        Raises:
            DataDirectoryError: There is something else, or it cannot be written.
        """
        own = [statement(name) for name in _OWN]  # in one transaction, three times as quick as one for each
        catalog = Catalog.open(where, own)
        try:
            lift(catalog)
            if _lacks_any(catalog):
                catalog.redefine(own)
            lake = cls(catalog, declared or {}, profiling, writer)
            lake._load()
            lake._know_given_bins()
            if lake.profiles is not None:
                lake.profiles.look_around(lake._names)
            if not lake.shared:  # others may be about to commit theirs
                delete_orphans(catalog)
        except (OSError, duckdb.Error) as error:
            raise DataDirectoryError(
                f"{catalog.place}: the lake cannot be opened: {error}; `lapwing doctor` says more"
            ) from error
        return lake

    @property
    def catalog(self) -> Catalog:
        """What whoever else commits to the lake goes through."""
        return self._catalog

    @property
    def progress(self) -> Progress:
        """What the newest commit covers that is known to have taken place."""
        return self._progress

    def confirmed_progress(self) -> Progress:
        """What the newest commit covers; asks the catalog where nobody knows how the last commit went.

        Raises:
            duckdb.Error: The catalog does not answer.
        """
        with self._catalog.exclusive():
            if self._in_doubt:
                self._load()
                self._in_doubt = False
            return self._progress

    def table_name(self, model: str) -> str:
        """The table of a model that has rows."""
        return self._names[model]

    @property
    def table_names(self) -> dict[str, str]:
        """The table of each model that has rows."""
        with self._catalog.exclusive():
            return dict(self._names)

    @property
    def held(self) -> bool:
        """Whether nothing is written any more, since the lake is taken elsewhere."""
        return self._catalog.held is not None

    @property
    def changes(self) -> int:
        """Grows with whatever brings rows of models, or changes their columns: who saw it has seen them."""
        return self._changes

    def look(self) -> None:
        """Learn what other collectors have done, of a lake that has several.

        Raises:
            OSError: The catalog is away.
            duckdb.Error: It refuses.
        """
        with self._catalog.exclusive():
            seen = self._sharing.seen()
            if seen != self._seen:
                self._look_again(seen)

    def forget(self, key: Key) -> None:
        """Read a table anew before the next flush, because somebody else changed its columns."""
        with self._catalog.exclusive():
            self._tables.forget([key])
            self._changes += 1

    def shapes(self, keys: Collection[Key]) -> dict[Key, Mapping[str, pa.DataType]]:
        """Types of the root columns that users' fields make up, for those of the tables that there are."""
        with self._catalog.exclusive():
            received = {key: table for key in keys if (table := self._tables.known(key)) is not None}
            others = Tables(self._catalog).find([key for key in keys if key not in received])
            return {key: table.shape for key, table in (received | others).items()}

    def heard(self, files: Iterable[NewFile]) -> None:
        """Let profiles wait for bins no longer than they have to, where others write rows, too.

        Args:
            files: Those that came, this collector's own among them.
        """
        if not self.shared or self.profiles is None:
            return
        with self._catalog.exclusive():
            models = {table: model for model, table in self._names.items()}
            for file in files:
                if file.table.schema == "predictions_all" and file.table.name in models:
                    self.profiles.heard(file.table.name, models[file.table.name], file.rows)

    @property
    def shared(self) -> bool:
        """Whether other collectors may write to it, too."""
        return self._catalog.place.shared

    def losses(self) -> list[Lost]:
        """What the numbers of processes say did not come, to any of the collectors that share the lake."""
        return self._sharing.losses()

    def forget_silent(self) -> None:
        """Remember no more of what others have written than there is room for."""
        self._sharing.forget()

    def flush(self, batches: Sequence[Batch], metrics: Sequence[QueuedMetric], progress: Progress) -> int:
        """Write everything in one transaction that also says what it covers: all becomes visible, or nothing.

        Args:
            batches: Rows in order of arrival.
            metrics: Results of `record:` rules.
            progress: What the lake covers with these rows.

        Returns:
            Rows that were left out, since another collector has written their records.

        Raises:
            OSError: The disk is full, or refuses; or the catalog or the store of a shared lake is away.
            duckdb.Error: The catalog refuses.
            RuntimeError: A commit that seemed to fail took place: the lake is further than was known; or
                others change it all the time.
            LakeHeldError: The lake is taken elsewhere.
        """
        with self._catalog.exclusive():
            self._catalog.expect_free()
            known = self._progress
            if self.confirmed_progress() != known:
                raise RuntimeError("a flush that seemed to fail took place; ask for the progress again")
            rows = _row_count(batches)
            for _ in range(_ATTEMPTS):
                try:
                    staged = self._stage(batches, metrics)
                    self._commit(staged, batches, metrics, progress)
                except (MovedError, ConflictingCommitError):
                    self._look_again()
                except RepeatedError as repeated:
                    batches = without(batches, repeated.ranges)
                else:
                    break
            else:
                raise MovedError("others change the lake faster than this collector can write to it")
            self._names.update(staged.names)
            self._versions |= staged.versions
            self._progress = progress
            self._changes += 1
            if self.profiles is not None:
                self.profiles.saw(staged.shapes)
            return rows - _row_count(batches)

    def add_rows(self, rows: Mapping[str, pa.Table], files: Sequence[DataFile] = ()) -> None:
        """Add rows to the lake's own tables (`models`, `metric_values`, …) in one transaction: all, or none.

        What the lake covers of the log stays as it is. An error means that nothing was added.

        Args:
            rows: By table; columns by name, in any order. Tables without rows are passed over.
            files: Rows that are written already. They belong to the lake from then on, which removes them
                where nothing is added.

        Raises:
            OSError: The disk is full, or refuses.
            duckdb.Error: The catalog refuses.
            pyarrow.ArrowInvalid: A value does not fit its column.
            KeyError: There is no such table, or a column is missing or unknown.
        """
        with self._catalog.exclusive():
            try:
                staged = [
                    _Rows(("main", name), _fitted(self._tables["main", name], table), {})
                    for name, table in rows.items()
                    if table.num_rows
                ]
                if not staged and not files:
                    return
                written = self._write(staged)
            except BaseException:
                self._catalog.remove(file.path for file in files)
                raise
            files = [*files, *written]
            crashpoints.reach("lake.before_commit")
            try:
                with self._catalog.transaction([file.path for file in files]):
                    add_files(self._catalog, files, None)
            except duckdb.Error:
                name = literal(files[0].path.name)
                if not self._catalog.native(statement("known_files", names=name)):
                    raise
            crashpoints.reach("lake.after_commit")
            if self.profiles is not None and "model_descriptions" in rows:
                for described in rows["model_descriptions"].to_pylist():
                    if described["table_name"] is not None:  # a process may speak before any row comes
                        self.profiles.look_at(described["table_name"], described["model"])

    def write_reference(self, table: str, batches: Sequence[Batch]) -> DataFile:
        """Write rows of a reference into a file of their table, which is made or widened where it has to be.

        Nobody sees them before `add_rows` is given the file. Values that are not of the type that the field
        has, here or among the predictions, go to `extra`; but numbers with fractions stay numbers, whether or
        not predictions have brought some.

        Args:
            table: The model's.
            batches: At least one; their fixed columns are `REFERENCE_ROWS`.

        Raises:
            OSError: The disk is full, or refuses.
            duckdb.Error: The catalog refuses.
        """
        with self._catalog.exclusive():
            described, rows = self._retried(lambda: self._prepare_reference(table, batches))
        return self._write_file(described, [rows])

    def _prepare_reference(self, table: str, batches: Sequence[Batch]) -> tuple[Table, pa.Table]:
        """Make or widen the table of a model's references; it, and rows in its shape."""
        key = (REFERENCE_SCHEMA, table)
        self._widened = []
        known = self._tables.find([key, ("predictions_all", table), ("labels", table)])
        there = known.pop(key, None)
        shape = {} if there is None else there.shape
        own = {path for path, _ in leaves((), shape)}
        batches = _as_spelled(batches, own)
        fractional = _fractional(batches)
        declared = {
            path: kind
            for other in known.values()
            for path, kind in leaves((), other.shape)
            if path not in own and not (pa.types.is_integer(kind) and path in fractional)
        }
        reconciled = reconcile(
            batches,
            shape,
            stored_integers_exact=lambda path: there is None or self._may_widen(there, path),
            declared=declared,
        )
        staged = _Rows(key, reconciled.rows, reconciled.shape)
        self._prepare([staged])
        return self._tables.find([key])[key], reconciled.rows

    def try_out(self, batches: Sequence[Batch]) -> None:
        """Do what `flush` would do with `batches`, except for the commit.

        Raises:
            Exception: What `flush` would raise.
        """
        with self._catalog.exclusive():
            staged = self._retried(lambda: self._stage(batches, ()))
            try:
                with self._catalog.rehearsal():
                    add_files(self._catalog, staged.files, "")
            finally:
                self._catalog.remove(staged.paths)

    def reserved_name(self, model: str) -> str:
        """The table of a model, which may have no rows yet."""
        with self._catalog.exclusive():
            return self._name_models([model])[model]

    def close(self) -> None:
        """Let go of the lake; closing twice is harmless."""
        self._files.shutdown()
        self._catalog.close()

    def _load(self) -> None:
        for model, version, name in self._catalog.rows("SELECT model, version, table_name FROM models"):
            self._names[model] = name
            self._table_names.keep(model, name)
            self._versions.add((model, version))
        for model, name in self._catalog.rows("SELECT DISTINCT model, table_name FROM reference_sets"):
            self._table_names.keep(model, name)  # which may have no rows yet
        self._progress = self._committed_progress()
        self._look_again()

    def _look_again(self, seen: Seen | None = None) -> None:
        """Let go of all that another collector may have changed, and read it anew when it is needed.

        Args:
            seen: How things are, where that was asked just now.
        """
        before, self._seen = self._seen, seen or self._sharing.seen()
        if self._seen.definitions != before.definitions:
            self._tables = Tables(self._catalog)
        if self._seen.bins != before.bins and self.profiles is not None:
            self.profiles.forget_all()
        if self._seen.models != before.models:
            self._know_names()
            self._versions |= self._sharing.versions()
            self._names |= {model: self._table_names.of(model) for model, _ in self._versions}
        self._changes += 1

    def _know_names(self) -> None:
        for model, name in self._sharing.names().items():
            self._table_names.keep(model, name)

    def _retried(self, work: Callable[[], Worked]) -> Worked:
        """Do what may have to be done again because another collector changed the lake."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return work()
            except (MovedError, ConflictingCommitError):
                self._look_again()
        return work()

    def _commit(
        self,
        staged: _Staged,
        batches: Sequence[Batch],
        metrics: Sequence[QueuedMetric],
        progress: Progress,
    ) -> None:
        crashpoints.reach("lake.before_commit")
        told = self._sharing.told(progress.log, progress.metrics)
        seen = self._seen
        self._in_doubt = True
        try:
            with self._catalog.transaction(staged.paths):
                self._check(staged, batches, metrics)
                with self._catalog.together():
                    self._sharing.note(progress.log, progress.metrics, staged.versions, batches)
                    add_files(self._catalog, staged.files, told)
                if staged.versions:
                    seen = self._sharing.seen()
        except (MovedError, RepeatedError):
            self._in_doubt = False  # it was not even tried
            raise
        except BaseException:
            if not self._took_place(progress):
                self._in_doubt = False
                raise
        self._in_doubt = False
        self._seen = seen
        crashpoints.reach("lake.after_commit")

    def _check(self, staged: _Staged, batches: Sequence[Batch], metrics: Sequence[QueuedMetric]) -> None:
        self._sharing.check(self._seen, staged.versions, batches)
        if (
            self.shared
            and metrics
            and (committed := self._committed_progress()).metrics != self._progress.metrics
        ):
            self._progress = committed
            raise RuntimeError("another collector took rows of metrics; ask for the progress again")

    def _took_place(self, progress: Progress) -> bool:
        """Whether a commit that seemed to fail did not."""
        committed = self._committed_progress()
        # Others may have taken more rows of metrics since.
        return committed.log == progress.log and committed.metrics >= progress.metrics

    def _know_given_bins(self) -> None:
        """Let queries read the bins that are the same in every lake."""
        if self._missing_bins():
            with self._catalog.turn():
                self._add_given_bins()

    def _missing_bins(self) -> list[Binning]:
        known = {name for (name,) in self._catalog.rows("SELECT field FROM binnings WHERE table_name = ''")}
        self._profiled = bool(known)
        return [] if self.profiles is None else [each for each in GIVEN if each.field not in known]

    def _add_given_bins(self) -> None:
        missing = self._missing_bins()
        if not missing:
            return
        made = {"created_from": "lapwing", "created_at": datetime(2026, 1, 1)}  # noqa: DTZ001  # naive UTC
        rows = [
            {**asdict(each), "kind": each.kind.value, "model": "", "table_name": ""} | made
            for each in missing
        ]
        self.add_rows({"binnings": pa.Table.from_pylist(rows, BINNING_ROWS)})

    def _committed_progress(self) -> Progress:
        return Progress(*self._sharing.progress())

    def _stage(self, batches: Sequence[Batch], metrics: Sequence[QueuedMetric]) -> _Staged:
        """Write everything to files that nobody knows of yet, into tables that fit them."""
        by_destination = _by_destination(batches)
        names = self._name_models([model for kind, model in by_destination if kind is not Kind.LOG])
        models = self._reconcile(by_destination, names)
        news = self._new_versions(models, names)
        rows = list(models.values())
        flushed = {
            names[model]: (model, staged)
            for (kind, model), staged in models.items()
            if kind is Kind.PREDICTION and staged.rows.num_rows
        }
        if flushed and self.profiles is None and self._profiled:
            raise RuntimeError("the lake keeps profiles: open it with what counts them")
        counted = None
        if flushed and self.profiles is not None:
            counted = self.profiles.count(
                {table: (model, each.rows) for table, (model, each) in flushed.items()}
            )
        if news.num_rows:
            rows.append(_Rows(("main", "models"), news, {}))
        if metrics:
            rows.append(_Rows(("main", "metric_values"), _metric_rows(metrics), {}))
        self._prepare(rows)
        versions = {(row["model"], row["version"]) for row in news.to_pylist()}
        shapes = {table: (model, each.shape, each.rows.num_rows) for table, (model, each) in flushed.items()}
        return _Staged(self._write(rows, counted), names, versions, shapes)

    def _name_models(self, models: Iterable[str]) -> dict[str, str]:
        models = dict.fromkeys(models)
        if self.shared and not all(map(self._table_names.knows, models)):
            with self._catalog.transaction():
                names = TableNames()  # nobody has the new names while the commit may fail
                for model, name in self._sharing.names().items():
                    names.keep(model, name)
                new = [model for model in models if not names.knows(model)]
                if new:
                    self._sharing.claim({model: names.of(model) for model in new})
            self._know_names()
        return {model: self._table_names.of(model) for model in models}

    def _reconcile(
        self, by_destination: Mapping[Destination, Sequence[Batch]], names: Mapping[str, str]
    ) -> dict[Destination, _Rows]:
        self._widened = []
        keys = {
            (kind, model): (_SCHEMA_OF[kind], "logs" if kind is Kind.LOG else names[model])
            for kind, model in by_destination
        }
        tables = self._tables.find(keys.values())
        return {
            destination: self._shaped(keys[destination], tables.get(keys[destination]), rows)
            for destination, rows in by_destination.items()
        }

    def _shaped(self, key: Key, table: Table | None, batches: Sequence[Batch]) -> _Rows:
        if batches[0].kind is Kind.LOG:
            return _Rows(key, pa.Table.from_batches([batch.rows for batch in batches], LOG_ROWS), {})
        reconciled = reconcile(
            batches,
            {} if table is None else table.shape,
            stored_integers_exact=lambda path: table is None or self._may_widen(table, path),
            declared=self._declared.get(batches[0].model),
        )
        return _Rows(key, reconciled.rows, reconciled.shape)

    def _may_widen(self, table: Table, path: FieldPath) -> bool:
        exact = self._integers_exact(table, path)
        if exact:
            self._widened.append((table, path))
        return exact

    def _prepare(self, staged: Sequence[_Rows]) -> None:
        """Make missing tables and columns ahead of the rows: without rows they do no harm."""
        tables = self._tables.find([each.key for each in staged])
        missing = [each for each in staged if each.key not in tables]
        reshaped = [each for each in staged if each.key in tables and each.shape != tables[each.key].shape]
        if not missing and not reshaped:
            return
        new_columns = [
            each for each in reshaped if any(root not in tables[each.key].shape for root in each.shape)
        ]
        changes = Changes(
            made={each.key: each.rows.schema for each in missing},
            reshaped=[(tables[each.key], each.shape) for each in reshaped],
            views=self._views_of([*missing, *new_columns]),
        )
        try:
            with self._catalog.transaction():
                if self.shared:
                    self._expect_unchanged()
                define(self._catalog, changes)
                seen = self._sharing.seen()
            self._seen = replace(self._seen, definitions=seen.definitions)
        finally:  # a commit that seems to fail may have taken place
            self._tables.forget(each.key for each in reshaped)

    def _expect_unchanged(self) -> None:
        """See to it that tables, and the numbers in them, are as they were when changes were made up.

        Raises:
            MovedError: They are not.
        """
        if self._sharing.seen().definitions != self._seen.definitions:
            raise MovedError
        for table, path in self._widened:
            if not self._integers_exact(table, path):
                raise MovedError

    def _views_of(self, changed: Iterable[_Rows]) -> dict[Key, str]:
        """The views of models whose tables are new or have a new column."""
        shapes = {each.key: each.shape for each in changed}
        names = {name for schema, name in shapes if schema in _MODEL_SCHEMAS}
        known = self._tables.find([(schema, name) for name in names for schema in _MODEL_SCHEMAS])
        shapes = {key: table.shape for key, table in known.items()} | shapes
        views: dict[Key, str] = {}
        for name in names:
            if ("predictions_all", name) not in shapes:
                continue  # labels came first
            labeled = "labeled_view" if "label" in shapes.get(("labels", name), ()) else "unlabeled_view"
            views["predictions", name] = statement("production_view", table=identifier(name))
            views["labeled", name] = statement(labeled, table=identifier(name))
        return views

    def _integers_exact(self, table: Table, path: FieldPath) -> bool:
        """Whether a DOUBLE could hold all of a field's integers; once it could not, nobody looks again."""
        if (table.number, path) in self._inexact:
            return False
        column = ".".join(identifier(part) for part in path)
        column = f"unnest({column})" if pa.types.is_list(_type_at(table.shape, path)) else column
        [(inexact,)] = self._catalog.look(
            table.name,
            f"SELECT count(*) FROM (SELECT {column} AS n FROM {table.sql_name}) "
            f"WHERE n NOT BETWEEN -{EXACT_INTEGER} AND {EXACT_INTEGER}",
        )
        if inexact:
            self._inexact.add((table.number, path))
        return not inexact

    def _new_versions(self, models: Mapping[Destination, _Rows], names: Mapping[str, str]) -> pa.Table:
        """Rows for `models`: versions that were never seen, and models of which only labels are known."""
        first_seen: dict[tuple[str, str | None], datetime] = {}
        for (kind, model), staged in models.items():
            if kind is Kind.PREDICTION:
                versions = pc.unique(staged.rows.column("version")).to_pylist()
                if any((model, version) not in self._versions for version in versions):
                    first = _first_times(staged.rows)
                    first_seen |= {(model, version): seen for version, seen in first.items()}
            elif kind is Kind.LABEL and model not in self._names:
                first_seen.setdefault((model, None), pc.min(staged.rows.column("time")).as_py())
        return pa.Table.from_pylist(
            [
                {"model": model, "version": version, "table_name": names[model], "first_seen": seen}
                for (model, version), seen in first_seen.items()
                if (model, version) not in self._versions
            ],
            schema=_MODEL_ROWS,
        )

    def _write(self, staged: Sequence[_Rows], counted: Iterable[pa.Table] | None = None) -> list[DataFile]:
        """Write a file for each table, several at a time, durably; all, or none is left.

        Profiles are counted while they are written, since they may be much more than the rows.
        """
        tables = self._tables.find([each.key for each in staged])
        writes = [self._files.submit(self._write_file, tables[each.key], [each.rows]) for each in staged]
        if counted is not None:
            writes.append(self._files.submit(self._write_file, self._tables["main", "profiles"], counted))
        failed = [error for error in (write.exception() for write in writes) if error is not None]
        if failed:
            self._catalog.remove(write.result().path for write in writes if write.exception() is None)
            raise failed[0]
        return [write.result() for write in writes]

    def _write_file(self, table: Table, parts: Iterable[pa.Table]) -> DataFile:
        file = table.folder / f"{uuid.uuid4()}.parquet"
        return DataFile(table, file, self._catalog.store.write(file, parts, table.columns))


def _row_count(batches: Sequence[Batch]) -> int:
    return sum(int(batch.rows.num_rows) for batch in batches)


def _lacks_any(catalog: Catalog) -> bool:
    """Whether something is missing that the lake has before any model."""
    there = {name for (name,) in catalog.native(statement("own_names"))}
    return not there.issuperset(name for each in _OWN for name in _MADE.findall(statement(each)))


def _as_spelled(batches: Sequence[Batch], own: Collection[FieldPath]) -> list[Batch]:
    """Fields by the names that their columns have, which know no difference between `Age` and `age`."""
    spelled = {_lowered(path): path for path in own}
    found = []
    for batch in batches:
        there = {each.path for each in batch.fields}
        columns = {path: spelled.get(_lowered(path), path) for path in there}
        fields = [
            each if columns[each.path] in there else replace(each, path=columns[each.path])
            for each in batch.fields
        ]
        found.append(replace(batch, fields=tuple(fields)))
    return found


def _lowered(path: FieldPath) -> FieldPath:
    return tuple(part.lower() for part in path)


def _fractional(batches: Sequence[Batch]) -> frozenset[FieldPath]:
    """Fields of which there are finite numbers that are not whole."""
    return frozenset(
        column.path
        for batch in batches
        for column in batch.fields
        if pa.types.is_floating(column.values.type) and _has_fractions(column.values)
    )


def _has_fractions(numbers: pa.Array) -> bool:
    finite = numbers.filter(pc.is_finite(numbers))
    return bool(pc.any(pc.not_equal(finite, pc.floor(finite))).as_py())


def _by_destination(batches: Sequence[Batch]) -> dict[Destination, list[Batch]]:
    found: dict[Destination, list[Batch]] = defaultdict(list)
    for batch in batches:
        found[batch.kind, batch.model].append(batch)
    return found


def _fitted(table: Table, rows: pa.Table) -> pa.Table:
    """The rows with exactly the columns that a table has."""
    if unknown := set(rows.column_names) - set(table.types):
        raise KeyError(f"{table.sql_name} has no column {', '.join(sorted(unknown))}")
    schema = pa.schema([pa.field(name, kind) for name, kind in table.types.items()])
    return rows.select(schema.names).cast(schema).combine_chunks()


def _first_times(rows: pa.Table) -> dict[str | None, datetime]:
    """The earliest event time of each version."""
    earliest = rows.select(["version", "time"]).group_by("version").aggregate([("time", "min")])
    return dict(
        zip(earliest.column("version").to_pylist(), earliest.column("time_min").to_pylist(), strict=True)
    )


def _type_at(shape: Mapping[str, pa.DataType], path: FieldPath) -> pa.DataType:
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
