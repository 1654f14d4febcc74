"""Gives the fields that users log their column types, and finds a place for every value that does not fit.

A *shape* maps each root column (`inputs`, `output`, `label`) to its Arrow type. `reconcile` brings the
batches of one table to one shape: it keeps known types, infers new ones from what arrives, widens integers
to floats while that is exact, and moves a value which no column can hold without loss to the row's `extra`
JSON object under its dotted path. Pure: it reads no table.
"""

import base64
import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial, reduce
from itertools import accumulate
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.model.records import UNTYPED, Batch

type_ = pa.types

Path = tuple[str, ...]
Shape = Mapping[str, pa.DataType]
Parts = Mapping[int, pa.Array]
"""Values of a field by the number of the batch that they are from, in order."""

EXACT_INTEGER: Final = 2**53
"""Every integer of at most this magnitude is exact as a DOUBLE."""

MAX_NAME: Final = 255
"""Characters that the name of a column has at most; fields with longer names go to `extra`."""

MAX_FIELDS: Final = 2000
"""Fields a table may have as columns; further ones go to `extra`."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Rows that fit one shape.

    Attributes:
        rows: Fixed columns and one column per root of the shape.
        shape: The known shape with what these rows add to it.
    """

    rows: pa.Table
    shape: dict[str, pa.DataType]


def reconcile(
    batches: Sequence[Batch],
    known: Shape,
    *,
    stored_integers_exact: Callable[[Path], bool],
    declared: Mapping[Path, pa.DataType] | None = None,
) -> Reconciled:
    """Bring `batches` (of one table, at least one) to one shape that includes the `known` one.

    Args:
        batches: In order of arrival; rows keep this order.
        known: Types of the root columns that the table has.
        stored_integers_exact: Tells whether all integers stored in a field are at most `EXACT_INTEGER` in
            magnitude; asked only when such a field is about to be widened to DOUBLE.
        declared: Types that fields get when they appear, whatever their first values are.
    """
    rows = pa.Table.from_batches([batch.rows for batch in batches]).combine_chunks()
    typing = _Typing(known, stored_integers_exact, declared or {})
    leftovers: dict[int, dict[str, Any]] = defaultdict(dict)
    columns: dict[Path, pa.Array] = {}
    starts = list(accumulate((batch.rows.num_rows for batch in batches), initial=0))
    fields = _fields_by_path(batches)
    for path, kind in typing.maps().items():
        keys = {each: fields.pop(each) for each in list(fields) if each[:-1] == path}
        if keys and typing.has(path, kind):
            columns[path] = _gathered(path, kind, keys, starts, leftovers)
        else:
            fields |= keys
    for path, kinds in fields.items():
        target = typing.settle(path, {kind: parts for kind, parts in kinds.items() if kind != UNTYPED})
        name = ".".join(path)
        for kind, parts in kinds.items():
            if target is None or kind == UNTYPED or type_.is_map(target):  # nothing is as long as all rows
                for index, values in parts.items():
                    _leave(leftovers, name, values, values.is_valid(), starts[index])
                continue
            values = _over_all_rows(parts, kind, starts)
            fitting = convert(values, target)
            columns[path] = pc.coalesce(columns[path], fitting) if path in columns else fitting
            if kind != target:
                _leave(leftovers, name, values, pc.and_(values.is_valid(), fitting.is_null()), 0)
    shape = typing.shape()
    rows = _with_extra(rows, leftovers)
    absent = cache(partial(pa.nulls, rows.num_rows))
    for root, kind in shape.items():
        rows = rows.append_column(pa.field(root, kind), assemble((root,), kind, columns, absent))
    return Reconciled(rows, shape)


def convert(values: pa.Array, target: pa.DataType) -> pa.Array:
    """Cast `values` to `target` where that loses nothing; null where it would.

    Numbers and booleans become text as JSON spells them. Lists of floats are kept in single precision.
    """
    kind = values.type
    if kind == target:
        return values
    if type_.is_integer(kind) and type_.is_floating(target):
        return pc.if_else(_exact(values), values, None).cast(target)
    if type_.is_floating(kind) and type_.is_integer(target):
        whole = pc.and_(pc.equal(values, pc.floor(values)), _exact(values))
        return pc.if_else(whole, values, None).cast(target)
    if type_.is_string(target) and (
        type_.is_integer(kind) or type_.is_floating(kind) or type_.is_boolean(kind)
    ):
        return values.cast(target)
    if type_.is_list(kind) and type_.is_list(target):
        return _convert_lists(values, target)
    return pa.nulls(len(values), target)


class _Typing:
    """The types of a table's fields while rows are brought to them."""

    def __init__(
        self,
        known: Shape,
        stored_integers_exact: Callable[[Path], bool],
        declared: Mapping[Path, pa.DataType],
    ) -> None:
        self._leaves = dict(leaves((), known))
        self._spellings = {
            tuple(part.lower() for part in path[:depth]): path[:depth]
            for path in self._leaves
            for depth in range(1, len(path) + 1)
        }
        self._stored_integers_exact = stored_integers_exact
        self._declared = declared

    def settle(self, path: Path, arriving: Mapping[pa.DataType, Parts]) -> pa.DataType | None:
        """The column type of the field at `path`; None if it can not be a column."""
        if not arriving:
            return None
        known = self._leaves.get(path)
        if known is None and not self._has_place(path):
            return None
        if known is None:
            settled = self._declared.get(path) or _inferred(arriving)
        elif path in self._declared:
            settled = known
        else:
            settled = self._widened(path, known, arriving)
        self._leaves[path] = settled
        return settled

    def maps(self) -> dict[Path, pa.DataType]:
        """Fields whose keys are no fields of their own."""
        return {path: kind for path, kind in {**self._declared, **self._leaves}.items() if type_.is_map(kind)}

    def has(self, path: Path, kind: pa.DataType) -> bool:
        """Whether there is a column of this type at `path`, or can be: then there is from now on."""
        if path not in self._leaves and self._has_place(path):
            self._leaves[path] = kind
        return bool(self._leaves.get(path) == kind)

    def shape(self) -> dict[str, pa.DataType]:
        """The types as nested columns, in the order the fields appeared."""
        tree: dict[str, Any] = {}
        for path, kind in self._leaves.items():
            node = tree
            for part in path[:-1]:
                node = node.setdefault(part, {})
            node[path[-1]] = kind
        return {root: _nested(node) for root, node in tree.items()}

    def _has_place(self, path: Path) -> bool:
        """Register a new field, unless its name, another's place or their number is in the way."""
        if not all(map(_is_name, path)) or len(self._leaves) >= MAX_FIELDS:
            return False
        lowered = tuple(part.lower() for part in path)
        if lowered in self._spellings:
            return False
        for depth in range(1, len(path)):
            outer = self._spellings.get(lowered[:depth])
            if outer is not None and (outer != path[:depth] or outer in self._leaves):
                return False
        for depth in range(1, len(path) + 1):
            self._spellings[lowered[:depth]] = path[:depth]
        return True

    def _widened(self, path: Path, known: pa.DataType, arriving: Mapping[pa.DataType, Parts]) -> pa.DataType:
        wider = _WIDER.get(known)
        if wider is None or wider not in arriving or not self._stored_integers_exact(path):
            return known
        return wider


_WIDER: Final = {pa.int64(): pa.float64(), pa.list_(pa.int64()): pa.list_(pa.float64())}


def _is_name(part: str) -> bool:
    return 0 < len(part) <= MAX_NAME and "\0" not in part


def _inferred(arriving: Mapping[pa.DataType, Parts]) -> pa.DataType:
    kinds = set(arriving)
    if kinds == {pa.int64(), pa.float64()}:
        return pa.float64()
    if kinds <= {pa.list_(pa.int64()), pa.list_(pa.float64())} and pa.list_(pa.float64()) in kinds:
        return pa.list_(pa.float32())
    return max(
        arriving, key=lambda kind: sum(len(part) - part.null_count for part in arriving[kind].values())
    )


def leaves(path: Path, types: Shape | pa.DataType) -> list[tuple[Path, pa.DataType]]:
    """Every field below a place, with its type: those inside of structs, and what is none itself."""
    if isinstance(types, pa.DataType) and not type_.is_struct(types):
        return [(path, types)]
    named = types.items() if isinstance(types, Mapping) else [(field.name, field.type) for field in types]
    return [
        leaf
        for name, kind in named
        for leaf in (leaves((*path, name), kind) if type_.is_struct(kind) else [((*path, name), kind)])
    ]


def _nested(node: Any) -> pa.DataType:
    if isinstance(node, dict):
        return pa.struct([pa.field(name, _nested(child)) for name, child in node.items()])
    return node


def _fields_by_path(batches: Sequence[Batch]) -> dict[Path, dict[pa.DataType, dict[int, pa.Array]]]:
    """Each field's values in the batches that have any, per kind."""
    found: dict[Path, dict[pa.DataType, dict[int, pa.Array]]] = {}
    for index, batch in enumerate(batches):
        for column in batch.fields:
            found.setdefault(column.path, {}).setdefault(column.values.type, {})[index] = column.values
    return found


def _over_all_rows(parts: Parts, kind: pa.DataType, starts: Sequence[int]) -> pa.Array:
    """The values over all rows, null where a batch has none; as many pieces as there are parts and gaps."""
    pieces, end = [], 0
    for index, values in parts.items():
        if starts[index] > end:
            pieces.append(pa.nulls(starts[index] - end, kind))
        pieces.append(values)
        end = starts[index + 1]
    if starts[-1] > end:
        pieces.append(pa.nulls(starts[-1] - end, kind))
    return pa.concat_arrays(pieces)


def _leave(
    leftovers: Mapping[int, dict[str, Any]], name: str, values: pa.Array, where: pa.Array, start: int
) -> None:
    """Leave over those values that stand where `where` is true, the first of them in row `start`."""
    for row in _indices(where):
        leftovers[start + row][name] = jsonable(values[row])


def _gathered(
    path: Path,
    kind: pa.MapType,
    keys: Mapping[Path, Mapping[pa.DataType, Parts]],
    starts: Sequence[int],
    leftovers: Mapping[int, dict[str, Any]],
) -> pa.Array:
    """One map per row, of the values under its keys; values that do not fit are left over."""
    rows: list[pa.Array] = [pa.array([], pa.int64())]
    names: list[pa.Array] = [pa.array([], pa.string())]
    items: list[pa.Array] = [pa.array([], kind.item_type)]
    for (*_, key), kinds in keys.items():
        for its, parts in kinds.items():
            for index, values in parts.items():
                fitting = (
                    pa.nulls(len(values), kind.item_type)
                    if its == UNTYPED
                    else convert(values, kind.item_type)
                )
                misfits = pc.and_(values.is_valid(), fitting.is_null())
                _leave(leftovers, ".".join((*path, key)), values, misfits, starts[index])
                found = pc.indices_nonzero(fitting.is_valid())
                rows.append(pc.add(found.cast(pa.int64()), starts[index]))
                names.append(pa.array([key] * len(found), pa.string()))
                items.append(fitting.drop_null())
    of_row = pa.concat_arrays(rows).to_numpy()
    order = np.argsort(of_row, kind="stable")  # by row; within it, keys as they came
    counts = np.bincount(of_row, minlength=starts[-1])
    offsets = pa.array(
        np.concatenate([[0], np.cumsum(counts)]), pa.int32(), mask=np.append(counts == 0, False)
    )
    return pa.MapArray.from_arrays(
        offsets, pa.concat_arrays(names).take(pa.array(order)), pa.concat_arrays(items).take(pa.array(order))
    )


def assemble(
    path: Path,
    kind: pa.DataType,
    columns: Mapping[Path, pa.Array],
    absent: Callable[[pa.DataType], pa.Array],
) -> pa.Array:
    """The column at `path`; a struct is null where all it holds is null.

    Fields that have no values share those of `absent`: a table may have many more than come at once.
    """
    if not type_.is_struct(kind):
        values = columns.get(path)
        return absent(kind) if values is None else values
    children = [assemble((*path, field.name), field.type, columns, absent) for field in kind]
    empty = reduce(pc.and_, (child.is_null() for child in children))
    return pa.StructArray.from_arrays(children, fields=list(kind), mask=empty)


def _exact(values: pa.Array) -> pa.Array:
    return pc.and_(pc.greater_equal(values, -EXACT_INTEGER), pc.less_equal(values, EXACT_INTEGER))


def _convert_lists(values: pa.Array, target: pa.DataType) -> pa.Array:
    item, wanted = values.type.value_type, target.value_type
    if type_.is_floating(item) and type_.is_floating(wanted):
        return values.cast(target)
    if not (type_.is_integer(item) and type_.is_floating(wanted)):
        return pa.nulls(len(values), target)
    flat = values.flatten()
    limit = EXACT_INTEGER if wanted == pa.float64() else 2**24
    beyond = pc.or_(pc.less(flat, -limit), pc.greater(flat, limit))
    rows_beyond = pc.list_parent_indices(values).filter(beyond)
    keep = pc.invert(
        pc.is_in(pa.array(range(len(values)), pa.int64()), value_set=rows_beyond.cast(pa.int64()))
    )
    return pc.if_else(keep, values, None).cast(target)


def _indices(chosen: pa.Array) -> list[int]:
    rows: list[int] = pc.indices_nonzero(chosen).to_pylist()
    return rows


def _with_extra(rows: pa.Table, leftovers: Mapping[int, Mapping[str, Any]]) -> pa.Table:
    if not leftovers:
        return rows
    index = rows.schema.get_field_index("extra")
    texts = rows.column(index).combine_chunks().storage.to_pylist()
    for row, values in leftovers.items():
        texts[row] = json.dumps({**json.loads(texts[row] or "{}"), **values}, ensure_ascii=False)
    extra = pa.ExtensionArray.from_storage(UNTYPED, pa.array(texts, pa.string()))
    return rows.set_column(index, rows.schema.field(index), extra)


def jsonable(value: pa.Scalar) -> Any:
    """The value as JSON can hold it: bytes in base64, NaN and infinities by name."""
    if value.type == UNTYPED:
        return json.loads(value.value.as_py())
    return _plain(value.as_py())


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
