"""Begins to count fields: their bins, and the counts of all rows that are stored, become visible at once.

Rows are read beside everything else, the files that there are first, then those that came meanwhile. Only
the last few are read while nothing can be flushed, in the moment before the commit: so each row is counted
once, by this or by the flush that writes it.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, Final

import pyarrow as pa

from lapwing_collector.crashpoints import reach
from lapwing_collector.engine import identifier, literal
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.files import StoredFile, TableName, table_files
from lapwing_collector.lake.profiles import FIRST_ROWS, Profiles, owned
from lapwing_collector.lake.rewriting import FEW_ROWS, ROUNDS, ConflictError, Pause, Rewriter, no_pause
from lapwing_collector.lake.shapes import leaves
from lapwing_collector.lake.snapshots import DataFile
from lapwing_collector.lake.statements import statement
from lapwing_collector.lake.tables import Table, Tables
from lapwing_collector.model.description import FeatureType, ModelDescription, dotted, parts
from lapwing_collector.model.profiles import (
    BINNING_ROWS,
    GIVEN,
    PROFILE_KEYS,
    SEGMENT_ROWS,
    SEGMENTS,
    BinKind,
    Binning,
    Counter,
)

AddRows = Callable[[Mapping[str, pa.Table], Sequence[DataFile]], None]
"""Adds rows to the lake's own tables, and files that are written already, in one commit. The files are its
own from then on: a commit that seems to fail may have taken place, so only it knows which may be deleted."""

_PART_ROWS: Final = 20_000
"""Rows of a profile that are put together in memory."""

_FEWEST_VALUES: Final = 100
"""A field with fewer values among the first rows waits for more."""

_UNCOUNTED: Final = (FeatureType.TEXT, FeatureType.EMBEDDING, FeatureType.TIME)
"""Declared types of features that no bins are made for."""


@dataclass(frozen=True, slots=True)
class NewBins:
    """What is to be counted of a model from now on.

    Attributes:
        model: Its name.
        table: Its table's.
        binnings: Of fields that have none.
        segments: Fields by whose values all counts are to be kept as well; they have bins, or are to have.
        made_from: Whose values the bins are made of.
        at: When.
        segment_bins: Categories that only tell segments apart, of fields whose values are in bins of numbers.
    """

    model: str
    table: str
    binnings: Sequence[Binning]
    segments: Sequence[str]
    made_from: str
    at: datetime
    segment_bins: Sequence[Binning] = ()


class Freezing:
    """Begins to count fields of one lake. For one thread at a time, which nobody's merging disturbs."""

    def __init__(self, catalog: Catalog, profiles: Profiles, rewriter: Rewriter, add_rows: AddRows) -> None:
        """Wire the parts.

        Args:
            catalog: Of the lake.
            profiles: Told of what is new.
            rewriter: Reads beside commits.
            add_rows: Commits.
        """
        self._catalog = catalog
        self._profiles = profiles
        self._rewriter = rewriter
        self._add_rows = add_rows

    def freeze_next(self, at: datetime, pause: Pause = no_pause) -> bool:
        """Look at a model some of whose fields may have enough values for bins; False where there is none."""
        with self._catalog.exclusive():
            due = self._profiles.next_due()
        if due is None:
            return False
        model, table = due  # it is due no longer: whatever is wrong with it, others have their turn
        rows_to_come, waits = self._look(model, table, at, pause)
        with self._catalog.exclusive():
            self._profiles.settle(table, rows_to_come, waits=waits)
        return True

    def binnings(self, table: str) -> dict[str, Binning]:
        """The bins of each field of a table that has some."""
        with self._catalog.exclusive():
            return self._profiles.binnings(table)

    def categories(self, table: str) -> set[str]:
        """Fields of a table that are described as categories, even if their values are numbers."""
        return _categories(self._description(table))

    def renew(self, model: str, table: str, field: str, at: datetime, pause: Pause = no_pause) -> None:
        """Make the bins of a field anew, whose values have another type now, and count all rows in them.

        What was counted in the old bins stays. A field that has none is left alone, as is one that has too
        few values yet.

        Raises:
            ConflictError: Files left the table while they were read.
            OSError: The disk is full, or refuses.
            duckdb.Error: A file cannot be read, or the catalog refuses.
        """
        if field not in self.binnings(table):
            return
        sample = self._sample(TableName("predictions_all", table), [field])
        made = self._frozen(sample, table, at, self._description(table))
        if made:
            self.begin(NewBins(model, table, made, (), "rows", at), pause=pause)

    def begin(
        self,
        new: NewBins,
        rows: Mapping[str, pa.Table] | None = None,
        pause: Pause = no_pause,
        written: Sequence[DataFile] = (),
    ) -> None:
        """Count what is new from now on, and all rows that are stored, exactly once.

        Args:
            new: What.
            rows: Of the lake's own tables, for the same commit.
            pause: Called after each part.
            written: Files for the same commit; they are removed where it does not take place.

        Raises:
            ConflictError: Files left the table while they were read.
            OSError: The disk is full, or refuses.
            duckdb.Error: A file cannot be read, or the catalog refuses.
        """
        files: list[DataFile] = [*written]
        try:
            with self._catalog.exclusive():
                counters = self._counters(new)
            counted: set[int] = set()
            for _ in range(ROUNDS):
                stored = self._uncounted(new.table, counted)
                if sum(file.rows for file in stored) <= FEW_ROWS:
                    break
                files += self._count(new, counters, stored, pause)
                counted.update(file.number for file in stored)
            reach("freezing.before_last")
            with self._catalog.turn(), self._forgetting(new.table):
                stored = self._uncounted(new.table, counted)
                files += self._count(new, counters, stored, lambda _: self._catalog.stay())
                handed, files = files, []  # whether they stay is decided there
                self._add_rows({**_rows(new), **(rows or {})}, handed)
        except BaseException:
            self._catalog.remove(file.path for file in files)
            raise

    def _look(self, model: str, table: str, at: datetime, pause: Pause) -> tuple[int, bool]:
        """Begin to count what can be.

        Returns:
            How many more rows to wait for where something is left, and whether segments are.
        """
        name = TableName("predictions_all", table)
        with self._catalog.exclusive():
            binnings = self._profiles.binnings(table)
            segments = self._profiles.segments(table)
            found = Tables(self._catalog).find([name])
        if name not in found:
            return FIRST_ROWS, False
        described = self._description(table)
        fields = self._unbinned(found[name], described, binnings)
        misfits = self._misfits(table, found[name].shape, described, binnings)
        # Bins of a reference stay, since the reference is counted in them.
        numbers = [
            each
            for each in described.segments
            if each not in segments
            and each not in misfits
            and each in binnings
            and binnings[each].kind is BinKind.NUMBER
        ]
        fields += [*misfits, *numbers]
        sample = self._sample(name, fields) if fields else pa.table({})
        made: list[Binning] = []
        if sample.num_rows >= FIRST_ROWS:
            made = self._frozen(sample, table, at, described)
        apart_only = [each for each in made if each.field in numbers]
        made = [each for each in made if each.field not in numbers]
        with_categories = {
            each.field for each in (*binnings.values(), *made, *apart_only) if each.kind is BinKind.CATEGORY
        }
        apart = [each for each in described.segments if each in with_categories and each not in segments]
        if made or apart:
            self.begin(NewBins(model, table, made, apart, "rows", at, apart_only), pause=pause)
        to_come = FIRST_ROWS - int(sample.num_rows) or FIRST_ROWS
        stored = sum(file.rows for file in table_files(self._catalog, name))
        waits = len(apart_only) < len(numbers)
        if stored < FIRST_ROWS:
            return to_come, waits
        return max(to_come, stored // 4), waits  # every look for rare values reads all rows

    def _frozen(
        self, sample: pa.Table, table: str, at: datetime, described: ModelDescription
    ) -> list[Binning]:
        """Bins of the fields of a sample that have values enough."""
        return [
            binning
            for binning in self._profiles.profiling.freeze(
                sample, f"{table}@{at.isoformat()}", _categories(described)
            )
            if sample.num_rows - sample.column(binning.field).null_count >= _FEWEST_VALUES
        ]

    def _misfits(
        self,
        table: str,
        shape: Mapping[str, pa.DataType],
        described: ModelDescription,
        binnings: Mapping[str, Binning],
    ) -> list[str]:
        """Fields whose bins are of another kind than their values: a crash came between type and bins.

        Bins of a reference stay, since the reference is counted in them.
        """
        own = {name for (name,) in self._catalog.rows(statement("own_bins", table=literal(table)))}
        categories = _categories(described)
        numbers = {dotted(path) for path, kind in leaves((), shape) if _is_number(kind)}
        misfits = []
        for name in self._profiles.profiling.countable(shape):
            if name not in own or name not in binnings:
                continue
            if binnings[name].kind is BinKind.NUMBER:
                if name not in numbers or name in described.segments:
                    misfits.append(name)
            elif name in numbers and name not in categories:
                misfits.append(name)
        return misfits

    def _unbinned(
        self, table: Table, described: ModelDescription, binnings: Mapping[str, Binning]
    ) -> list[str]:
        """Fields that could have bins and have none; tags among them where they tell segments apart."""
        fields = [
            name
            for name in self._profiles.profiling.countable(table.shape)
            if (feature := described.features.get(name)) is None or feature.type not in _UNCOUNTED
        ]
        fields += [name for name in described.segments if name.startswith("tags.")]
        return [name for name in dict.fromkeys(fields) if name not in binnings]

    def _sample(self, table: TableName, fields: Sequence[str]) -> pa.Table:
        """The first rows that have a value of any of the fields."""
        anything = " OR ".join(f"{_column(name)} IS NOT NULL" for name in fields)
        return self._rewriter.read(
            f"SELECT {_columns(fields)} FROM {table.sql} WHERE {anything} LIMIT {FIRST_ROWS}"
        )

    def _description(self, table: str) -> ModelDescription:
        found = self._catalog.rows(statement("description_of", table=literal(table)))
        return ModelDescription.from_json(found[0][0]) if found else ModelDescription()

    def _counters(self, new: NewBins) -> list[Counter]:
        """What counts the new fields in old and new segments, and the old fields in new segments."""
        old = self._profiles.binnings(new.table)
        every = {each.field: each for each in (*old.values(), *new.binnings, *new.segment_bins)}
        segments = [  # a field that gets other bins tells segments apart by these from now on
            every[name] if old.get(name) == each else each
            for name, each in self._profiles.segments(new.table).items()
        ]
        segments += [every[name] for name in new.segments]
        counters = [self._profiles.counter(new.binnings, segments, whole=True)] if new.binnings else []
        if new.segments:
            apart = [every[name] for name in new.segments]
            counters.append(self._profiles.counter(old.values(), apart, whole=False))
        return counters

    def _uncounted(self, table: str, counted: set[int]) -> list[StoredFile]:
        stored = table_files(self._catalog, TableName("predictions_all", table))
        return [file for file in stored if file.number not in counted]

    def _count(
        self, new: NewBins, counters: Sequence[Counter], stored: Sequence[StoredFile], pause: Pause
    ) -> list[DataFile]:
        """Count the rows of some files into a file of the profile; none where there is nothing to say."""
        if not stored or not counters:
            return []
        rows = _gathered(self._counted(new, counters, stored, pause), self._profiles.profiling.add_up)
        first = next(rows, None)
        if first is None:
            return []
        table = Tables(self._catalog)["main", "profiles"]
        path = table.folder / f"{uuid.uuid4()}.parquet"
        return [DataFile(table, path, self._catalog.store.write(path, chain([first], rows), table.columns))]

    def _counted(
        self, new: NewBins, counters: Sequence[Counter], stored: Sequence[StoredFile], pause: Pause
    ) -> Iterator[pa.Table]:
        table = TableName("predictions_all", new.table)
        described = Tables(self._catalog)[table]
        known = set(self._profiles.profiling.countable(described.shape)) | {each.field for each in GIVEN}
        fields = {name for counter in counters for name in counter.fields}
        fields |= {*new.segments, *self._profiles.segments(new.table)}
        wanted = sorted(name for name in fields if name in known or name.startswith("tags."))
        names = ", ".join(literal(str(file.path)) for file in stored)
        columns = ", ".join(
            ["time", "version", "stage", _columns(wanted)] if wanted else ["time", "version", "stage"]
        )
        sql = f"SELECT {columns} FROM {table.sql} WHERE filename IN ({names})"
        rows = 0
        for batch in self._rewriter.batches(sql, pause):
            rows += batch.num_rows
            for counter in counters:
                for part in counter.count_columns(batch):
                    yield owned(part, new.model, new.table)
        if rows != sum(file.rows for file in stored) - self._rewriter.deleted_rows(stored):
            raise ConflictError(f"{table.sql}: files left it while their rows were counted")

    @contextmanager
    def _forgetting(self, table: str) -> Iterator[None]:
        """Have what is known of a table read anew afterwards, even if a commit only seemed to fail."""
        try:
            yield
        finally:
            self._profiles.forget(table)


def _gathered(parts: Iterator[pa.Table], add_up: Callable[[pa.Table], pa.Table]) -> Iterator[pa.Table]:
    """Rows of a profile in larger parts, with those of one key added up as far as they are together."""
    waiting: list[pa.Table] = []
    rows = 0

    def together() -> pa.Table:
        return add_up(pa.concat_tables(waiting).sort_by([(name, "ascending") for name in PROFILE_KEYS]))

    for part in parts:
        if not part.num_rows:
            continue
        waiting.append(part)
        rows += part.num_rows
        if rows >= _PART_ROWS:
            waiting = [together()]
            rows = waiting[0].num_rows
            if rows >= _PART_ROWS // 2:
                yield waiting.pop()
                rows = 0
    if waiting:
        yield together()


def _named(binnings: Sequence[Binning]) -> frozenset[str]:
    return frozenset(each.field for each in binnings)


def _rows(new: NewBins) -> dict[str, pa.Table]:
    binnings = [
        {
            "binning_id": each.binning_id,
            "model": new.model,
            "table_name": new.table,
            "field": each.field,
            "kind": each.kind.value,
            "edges": each.edges,
            "categories": each.categories,
            "created_from": made_from,
            "created_at": new.at,
        }
        for made_from, made in ((new.made_from, new.binnings), (SEGMENTS, new.segment_bins))
        for each in made
    ]
    segments: list[dict[str, Any]] = [
        {"model": new.model, "table_name": new.table, "field": name, "created_at": new.at}
        for name in new.segments
    ]
    return {
        "binnings": pa.Table.from_pylist(binnings, BINNING_ROWS),
        "profile_segments": pa.Table.from_pylist(segments, SEGMENT_ROWS),
    }


def _categories(described: ModelDescription) -> set[str]:
    """Fields that are categories, even if their values are numbers."""
    declared = {name for name, feature in described.features.items() if feature.type is FeatureType.CATEGORY}
    return declared | set(described.segments)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _columns(fields: Sequence[str]) -> str:
    return ", ".join(f"{_column(name)} AS {identifier(name)}" for name in fields)


def _column(field: str) -> str:
    """A field as SQL reads it."""
    root, *inside = parts(field)
    if root == "tags":
        return f"tags[{literal('.'.join(inside))}]"
    return ".".join(map(identifier, (root, *inside)))
