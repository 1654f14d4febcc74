"""Profiles of models, kept by the lake's writer: what a flush adds, and which fields wait for bins."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from lapwing_collector.engine import literal
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.statements import statement
from lapwing_collector.model.profiles import (
    GIVEN,
    PROFILE_ROWS,
    BinKind,
    Binning,
    Counter,
    Profiling,
)

FIRST_ROWS: Final = 10_000
"""Rows whose values decide on the bins of a field, unless a reference did."""

_FIELDS_KEPT: Final = 20_000
"""Bins that are kept in memory, of the models that had rows last: some 4 kB each; all of the last flush."""

_PART_ROWS: Final = 8_192
"""Rows of a flush's profile that are gathered before they are written."""

Flushed = Mapping[str, tuple[str, pa.Table]]
"""Rows of predictions by table, each with its model."""


@dataclass(slots=True)
class _Known:
    """What is known of a table.

    Attributes:
        binnings: By field; the latency's among them.
        segments: Fields that tell segments apart, with the categories by which they do.
        counter: Counts by these.
        shape: The shape that the table had when it was looked at last.
        unbinned: Its fields that could have bins and have none.
    """

    binnings: dict[str, Binning]
    segments: dict[str, Binning]
    counter: Counter
    shape: Mapping[str, pa.DataType] = field(default_factory=dict)
    unbinned: frozenset[str] = frozenset()


class Profiles:
    """Profiles of every model of one lake.

    Only who holds the catalog (`Catalog.exclusive`) may call it.
    """

    def __init__(self, catalog: Catalog, profiling: Profiling) -> None:
        """Know nothing yet of what the catalog has.

        Args:
            catalog: Of the lake.
            profiling: How rows are counted.
        """
        self._catalog = catalog
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._due: dict[str, str] = {}
        self._waiting: set[str] = set()  # for segments
        self._rows_to_come: dict[str, int] = {}  # kept of every table: until it is worth looking at again
        self.profiling = profiling

    def count(self, flushed: Flushed) -> Iterator[pa.Table]:
        """What rows that are about to be written add to the profiles of their models; in parts."""
        self._load(flushed)
        counters = {table: self._known[table].counter for table in flushed}
        return _gathered(
            owned(part, model, table)
            for table, (model, rows) in flushed.items()
            for part in counters[table].count(rows)
        )

    def saw(self, shapes: Mapping[str, tuple[str, Mapping[str, pa.DataType], int]]) -> None:
        """Rows were written: model, shape and number of them, by table."""
        for table, (model, shape, rows) in shapes.items():
            known = self._known[table]
            if shape != known.shape:
                known.unbinned = frozenset(self.profiling.countable(shape)) - known.binnings.keys()
                known.shape = dict(shape)
            if known.unbinned or table in self._waiting:
                to_come = self._rows_to_come.get(table, 0) - rows
                self._rows_to_come[table] = to_come
                if to_come <= 0:
                    self._due[table] = model
        self._shrink(len(shapes))

    def heard(self, table: str, model: str, rows: int) -> None:
        """Rows were written by whomever; `saw` counts those of this process once more, which does no harm."""
        to_come = self._rows_to_come.get(table, FIRST_ROWS) - rows
        self._rows_to_come[table] = to_come
        if to_come <= 0:
            self._due[table] = model

    def next_due(self) -> tuple[str, str] | None:
        """Model and table some of whose fields may have enough values for bins; the longest due.

        It is due no longer, so that what is told of it while it is looked at lets it be due again.
        """
        if not self._due:
            return None
        table = next(iter(self._due))
        self._rows_to_come[table] = FIRST_ROWS
        return self._due.pop(table), table

    def look_around(self, models: Mapping[str, str]) -> None:
        """Let every table that has rows enough be due: they may be from another process.

        Args:
            models: Tables by model.
        """
        counted = self._catalog.native(statement("large_tables", rows=str(FIRST_ROWS)))
        large = {name for (name,) in counted}
        self._due |= {table: model for model, table in models.items() if table in large}

    def look_at(self, table: str, model: str) -> None:
        """Let a table be due, whatever it has: its model was described anew."""
        self._due[table] = model

    def settle(self, table: str, rows_to_come: int, *, waits: bool = False) -> None:
        """A table that was due has been looked at; not again before so many more rows.

        Args:
            table: Which.
            rows_to_come: How many.
            waits: Whether some of its fields are to tell segments apart and cannot yet.
        """
        self._rows_to_come[table] = rows_to_come
        (self._waiting.add if waits else self._waiting.discard)(table)

    def binnings(self, table: str) -> dict[str, Binning]:
        """The bins of each field of a table that has some; the latency's among them."""
        self._load([table])
        return dict(self._known[table].binnings)

    def segments(self, table: str) -> dict[str, Binning]:
        """Fields by whose values the counts of a table are kept as well, with the categories they have."""
        self._load([table])
        return dict(self._known[table].segments)

    def forget(self, table: str) -> None:
        """Read what there is of a table when it is asked for again: it has changed, or may have."""
        self._known.pop(table, None)

    def forget_all(self) -> None:
        """As `forget`, of all tables."""
        self._known.clear()

    def counter(self, binnings: Iterable[Binning], segments: Sequence[Binning], *, whole: bool) -> Counter:
        """What counts by some bins, but those of labels, which come later and change; see `MakeCounter`."""
        counted = [each for each in binnings if each.field.partition(".")[0] != "label"]
        return self.profiling.counter(counted, segments, whole=whole)

    def _load(self, tables: Collection[str]) -> None:
        missing = [table for table in tables if table not in self._known]
        if missing:
            names = ", ".join(map(literal, missing))
            found = {table: {each.field: each for each in GIVEN} for table in missing}
            apart: dict[str, dict[str, Binning]] = {table: {} for table in missing}
            for bins, name in ((found, "binnings_of"), (apart, "segment_bins_of")):
                for table, binning_id, field_name, kind, edges, categories in self._catalog.rows(
                    statement(name, tables=names)
                ):
                    bins[table][field_name] = Binning(
                        binning_id, field_name, BinKind(kind), tuple(edges or ()), tuple(categories or ())
                    )
            segments: dict[str, dict[str, Binning]] = {table: {} for table in missing}
            for table, name in self._catalog.rows(statement("segments_of", tables=names)):
                told = apart[table].get(name) or found[table].get(name)
                if told is not None and told.kind is BinKind.CATEGORY:
                    segments[table][name] = told  # in bins of numbers there are none yet
            for table, binnings in found.items():
                counter = self.counter(binnings.values(), [*segments[table].values()], whole=True)
                self._known[table] = _Known(binnings, segments[table], counter)
        for table in tables:
            self._known.move_to_end(table)

    def _shrink(self, in_use: int) -> None:
        """Forget the models that had no rows for longest, while there are too many fields.

        Those of the last flush stay: the next one is most likely of the same.
        """
        fields = sum(len(known.binnings) for known in self._known.values())
        while fields > _FIELDS_KEPT and len(self._known) > max(1, in_use):
            fields -= len(self._known.popitem(last=False)[1].binnings)


def _gathered(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in parts that are worth a row group each, of few models or of many."""
    waiting: list[pa.Table] = []
    rows = 0
    for part in parts:
        waiting.append(part)
        rows += part.num_rows
        if rows >= _PART_ROWS:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def owned(counted: pa.Table, model: str, table: str) -> pa.Table:
    """Rows of a profile, of which it is known now whose they are."""
    size = counted.num_rows
    columns = {
        "model": pa.repeat(pa.scalar(model), size),
        "table_name": pa.repeat(pa.scalar(table), size),
        **{name: counted.column(name) for name in counted.schema.names},
    }
    return pa.table([columns[name] for name in PROFILE_ROWS.names], schema=PROFILE_ROWS)
