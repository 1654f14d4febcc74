"""Gives a field of a table another type: a wrong start is mended, and what waits in `extra` finds its column.

Rows are written anew beside everything else, as in `rewriting`. One transaction then exchanges all files and
the column's type, so that nobody ever reads the one without the other.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.crashpoints import reach
from lapwing_collector.engine import literal
from lapwing_collector.errors import ConfigError, UnavailableError
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.files import StoredFile, TableName, table_files
from lapwing_collector.lake.rewriting import FEW_ROWS, MOST_ROWS, ROUNDS, ConflictError, Rewriter
from lapwing_collector.lake.shapes import Path as FieldPath
from lapwing_collector.lake.shapes import assemble, convert, jsonable, leaves
from lapwing_collector.lake.snapshots import DataFile, add_files, end_files
from lapwing_collector.lake.statements import statement
from lapwing_collector.lake.tables import Table, Tables
from lapwing_collector.lake.types import catalog_name
from lapwing_collector.model.records import UNTYPED

_ATTEMPTS: Final = 5
"""Each fails only where a new field came while rows were written."""

_NOT_NUMBERS: Final = {
    "NaN": float("nan"),
    "nan": float("nan"),
    "Infinity": float("inf"),
    "inf": float("inf"),
    "-Infinity": float("-inf"),
    "-inf": float("-inf"),
}
"""As `extra` and text columns spell what JSON has no numbers for."""

Progress = Callable[[int, int], None]
"""Told how many rows are done, and of how many."""


@dataclass(slots=True)
class Retyped:
    """What was done.

    Attributes:
        rows: Rows that were written anew.
        into_column: Values that came from `extra`.
        into_extra: Values that the new type cannot hold.
    """

    rows: int = 0
    into_column: int = 0
    into_extra: int = 0


def retype(  # noqa: PLR0917  # a field, its type, and who does the work
    catalog: Catalog, rewriter: Rewriter, table: TableName, path: FieldPath, kind: pa.DataType, told: Progress
) -> Retyped:
    """Give the field at `path` the type `kind`.

    Args:
        catalog: Of the lake; nobody else may merge or remove files meanwhile.
        rewriter: Reads the rows.
        table: Whose field it is.
        path: `("inputs", "age")`.
        kind: The new type, of those that people may declare.
        told: Told how far it is.

    Raises:
        ConfigError: There is no such column.
        UnavailableError: New fields come all the time.
        OSError: The disk is full, or refuses.
        duckdb.Error: A file cannot be read, or the catalog refuses.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _Retyping(catalog, rewriter, table, path, kind).run(told)
        except ConflictError:
            continue
    raise UnavailableError(f"{table.sql} gets new fields all the time; try again when that is over")


@dataclass
class _Retyping:
    """One attempt.

    Attributes:
        files: Written so far, in the new type; none once the catalog has been told of them, which alone
            knows then whether they are needed.
        done: Numbers of the files that they take the place of.
    """

    catalog: Catalog
    rewriter: Rewriter
    table: TableName
    path: FieldPath
    kind: pa.DataType
    files: list[DataFile] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    outcome: Retyped = field(default_factory=Retyped)

    def run(self, told: Progress) -> Retyped:
        before = self._described()
        columns = self._columns(before)
        try:
            for number in range(ROUNDS):
                left = self._left()
                rows = sum(file.rows for file in left)
                if number and rows <= FEW_ROWS:
                    break
                total = self.outcome.rows + rows
                for group in _groups(left):
                    self._write(before, columns, group)
                    told(self.outcome.rows, total)
            with self.catalog.turn():
                for group in _groups(self._left()):  # rows that came meanwhile, while nothing is flushed
                    self._write(before, columns, group)
                    self.catalog.stay()
                self._exchange(before, columns)
        except BaseException:
            self.catalog.remove(file.path for file in self.files)
            raise
        return self.outcome

    def _left(self) -> list[StoredFile]:
        """Files whose rows are not written anew yet."""
        return [file for file in table_files(self.catalog, self.table) if file.number not in self.done]

    def _described(self) -> Table:
        """The table as it is, which has the field.

        Raises:
            ConfigError: It has not.
        """
        found = Tables(self.catalog).find([self.table])
        described = found.get(self.table)
        if described is None or self.path not in dict(leaves((), described.shape)):
            name = ".".join(self.path)
            raise ConfigError(
                f"{self.table.sql} has no column {name}; `lapwing models show` lists the fields"
            )
        return described

    def _columns(self, before: Table) -> dict[FieldPath, int]:
        """The numbers that the columns are to have: the field keeps its own."""
        kept = {
            path: number
            for path, number in before.columns.items()
            if path[: len(self.path)] != self.path or path == self.path
        }
        if pa.types.is_list(self.kind):
            [(newest,)] = self.catalog.native(statement("newest_column", table=str(before.number)))
            kept[*self.path, "element"] = int(newest) + 1
        return kept

    def _write(self, before: Table, columns: Mapping[FieldPath, int], group: Sequence[StoredFile]) -> None:
        """Write the rows of some files in the new type."""
        self.done += [file.number for file in group]
        parts = (self._retyped(rows) for rows in self.rewriter.rows_of(self.table, group))
        file = self.rewriter.write(before, columns, parts)
        if file is not None:
            self.files.append(file)

    def _retyped(self, rows: pa.Table) -> pa.Table:
        changed, into_column, into_extra = retyped(rows, self.path, self.kind)
        self.outcome.rows += rows.num_rows
        self.outcome.into_column += into_column
        self.outcome.into_extra += into_extra
        return changed

    def _exchange(self, before: Table, columns: Mapping[FieldPath, int]) -> None:
        files, self.files = self.files, []
        with self.catalog.transaction([file.path for file in files]):
            if self._described() != before:
                raise ConflictError(f"{self.table.sql}: its columns changed while rows were written")
            add_files(self.catalog, files, None)
            if self.done and end_files(self.catalog, before, self.done) != len(self.done):
                raise ConflictError(f"{self.table.sql}: files left it while they were read")
            names = {"table": str(before.number), "column": str(before.columns[self.path])}
            self.catalog.change(statement("tell_of_retyping", table=names["table"]))
            self.catalog.change(statement("retype_column", **names, kind=literal(catalog_name(self.kind))))
            self.catalog.change(statement("end_inner_columns", **names))
            if pa.types.is_list(self.kind):
                inner = literal(catalog_name(self.kind.value_type))
                number = str(columns[*self.path, "element"])
                self.catalog.change(statement("add_element", **names, number=number, kind=inner))
            reach("maintenance.in_retype")


def retyped(rows: pa.Table, path: FieldPath, kind: pa.DataType) -> tuple[pa.Table, int, int]:
    """Rows with the field at `path` in another type.

    A value that `kind` cannot hold without loss goes to `extra`; one in `extra` that it can hold comes from
    there. Texts count as what they spell in JSON, where the type is another.

    Returns:
        The rows, how many values came from `extra`, and how many went there.
    """
    rows = rows.combine_chunks()
    root = rows.column(path[0]).combine_chunks()
    stored = pc.struct_field(root, list(path[1:])) if len(path) > 1 else root
    values = _fitted(stored, kind)
    leaving = pc.indices_nonzero(pc.and_(stored.is_valid(), values.is_null())).to_pylist()
    name = ".".join(path)
    place = rows.schema.get_field_index("extra")
    texts = _storage(rows.column(place)).to_pylist()
    waiting = {
        row: kept
        for row, text in enumerate(texts)
        if text and name in text and name in (kept := json.loads(text))
    }
    coming = _fit([kept[name] for kept in waiting.values()], kind)
    sources = list(range(len(values)))  # of each row's value: itself, or one that comes
    for number, row in enumerate(waiting):
        if coming[number].is_valid and not stored[row].is_valid:
            sources[row] = len(values) + number
            kept = waiting[row]
            del kept[name]
            texts[row] = json.dumps(kept, ensure_ascii=False) if kept else None
    arrived = sum(row != source for row, source in enumerate(sources))
    for row in leaving:
        kept = {**json.loads(texts[row] or "{}"), name: jsonable(stored[row])}
        texts[row] = json.dumps(kept, ensure_ascii=False)
    values = pa.concat_arrays([values, coming]).take(pa.array(sources))
    extra = pa.ExtensionArray.from_storage(UNTYPED, pa.array(texts, pa.string()))
    rows = rows.set_column(place, rows.schema.field(place), extra)
    return _with_field(rows, path, values), arrived, len(leaving)


def _fitted(stored: pa.Array, kind: pa.DataType) -> pa.Array:
    """Stored values as `kind`; null where it cannot hold them."""
    if not pa.types.is_string(stored.type) or pa.types.is_string(kind):
        return convert(stored, kind)
    encoded = stored.dictionary_encode()
    return _fit([_spelled(text) for text in encoded.dictionary.to_pylist()], kind).take(encoded.indices)


def _spelled(text: str) -> Any:
    """What a text spells in JSON; the text itself where it spells nothing."""
    try:
        return json.loads(text)
    except ValueError:
        return text
    except RecursionError:
        return text


def _fit(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values of any type as `kind`; null where it cannot hold them."""
    fitting = pa.nulls(len(values), kind)
    if pa.types.is_floating(kind):
        values = [_NOT_NUMBERS.get(each, each) if isinstance(each, str) else each for each in values]
    natural = [_natural(each) for each in values]
    for each in {kind for kind in natural if kind is not None}:
        own = [value if its == each else None for value, its in zip(values, natural, strict=True)]
        fitting = pc.coalesce(fitting, convert(pa.array(own, each), kind))
    return fitting


def _natural(value: Any) -> pa.DataType | None:
    """The type that a value has when it arrives; None for what has none."""
    if isinstance(value, list):
        inside = {_natural(each) for each in value}
        if inside == {pa.int64(), pa.float64()}:
            return pa.list_(pa.float64())
        [only] = inside if len(inside) == 1 else [None]
        return None if only is None or pa.types.is_list(only) else pa.list_(only)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return None
    return {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}.get(type(value))


def _with_field(rows: pa.Table, path: FieldPath, values: pa.Array) -> pa.Table:
    """The rows with other values of a field; structs on the way to it are null where all in them is."""
    place = rows.schema.get_field_index(path[0])
    root = rows.column(place).combine_chunks()
    columns = {
        leaf: pc.struct_field(root, list(leaf[1:])) if len(leaf) > 1 else root
        for leaf, _ in leaves((path[0],), root.type)
    } | {path: values}
    shape = _replaced((path[0],), root.type, path, values.type)
    absent = cache(partial(pa.nulls, rows.num_rows))
    return rows.set_column(place, pa.field(path[0], shape), assemble((path[0],), shape, columns, absent))


def _replaced(at: FieldPath, kind: pa.DataType, path: FieldPath, new: pa.DataType) -> pa.DataType:
    if at == path:
        return new
    if not pa.types.is_struct(kind):
        return kind
    return pa.struct(
        [pa.field(each.name, _replaced((*at, each.name), each.type, path, new)) for each in kind]
    )


def _storage(column: pa.ChunkedArray) -> pa.Array:
    """Texts of a JSON column."""
    array = column.combine_chunks()
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _groups(files: Sequence[StoredFile]) -> Iterator[list[StoredFile]]:
    """Files that become one, in order."""
    group: list[StoredFile] = []
    for file in files:
        if group and sum(each.rows for each in group) + file.rows > MOST_ROWS:
            yield group
            group = []
        group.append(file)
    if group:
        yield group
