"""Counts rows into profiles: a flush's, a part of a table's, or a reference's.

Rows are grouped first, and brought into the order of their groups; then each field is brought to the places
of its bins once, and counted in all groups at the same time.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.metrics.binning import Floats, numbers_of
from lapwing_collector.metrics.columns import countable, flattened, is_number, is_text
from lapwing_collector.model.description import parts
from lapwing_collector.model.profiles import (
    ALL_ROWS,
    COUNTED_ROWS,
    FIRST_CATEGORY,
    MOST_SEGMENTS,
    NULL,
    OTHER,
    PROFILE_KEYS,
    UNDER,
    BinKind,
    Binning,
)

Places = npt.NDArray[np.signedinteger[Any]]
Locate = Callable[[Floats], Places]

logger = logging.getLogger(__name__)

GRAIN: Final = "hour"

_PART_COUNTS: Final = 1 << 20
"""Counts that are in memory at a time, some 8 MB: rows may be of more groups than can be."""

_KEYS_WEIGHT: Final = 32
"""So many counts take as much memory as the rest of a profile's row."""

_CELLS: Final = 1024
_CROWDED: Final = 4
"""With so many edges in one cell, a search by halves is as quick."""
_MANTISSA: Final = 52


class ProfileCounter:
    """Counts rows of one model by its binnings; see `MakeCounter`."""

    def __init__(
        self, binnings: Sequence[Binning], segments: Sequence[Binning] = (), *, whole: bool = True
    ) -> None:
        """Prepare what is the same for all rows."""
        self._fields = [_Field(binning) for binning in binnings]
        self._segments = [_Field(binning) for binning in segments if binning.kind is BinKind.CATEGORY]
        self._whole = whole
        named = {each.binning.field for each in (*self._fields, *self._segments)}
        self._tags = {name: ".".join(parts(name)[1:]) for name in named if name.startswith("tags.")}

    @property
    def fields(self) -> frozenset[str]:
        """Fields that have a binning."""
        return frozenset(each.binning.field for each in self._fields)

    def count(self, rows: pa.Table) -> Iterator[pa.Table]:
        """What `rows`, in the shape of the model's table, add to its profile; in parts.

        A field that they do not have is null in all of them.
        """
        columns = flattened(rows)
        for name, key in self._tags.items():
            columns[name] = pc.map_lookup(columns["tags"], pa.scalar(key), "last")
        return self._count(columns, rows.num_rows)

    def count_columns(self, rows: pa.Table) -> Iterator[pa.Table]:
        """The same for rows whose columns are named by the fields, beside `time`, `version` and `stage`."""
        columns = {name: rows.column(name).combine_chunks() for name in rows.schema.names}
        return self._count(columns, rows.num_rows)

    def _count(self, columns: Mapping[str, pa.Array], size: int) -> Iterator[pa.Table]:
        if not size or not self._fields:
            return
        groupings = _groupings(columns, self._segments, whole=self._whole)
        found = _Found()
        for each in self._fields:
            values = _values(each, columns.get(each.binning.field), size)
            most = max(1, _PART_COUNTS // (each.binning.length + _KEYS_WEIGHT))
            for part in chain.from_iterable(grouping.parts(most) for grouping in groupings):
                found.add(each.binning, part, values)
                if found.weight >= _PART_COUNTS:
                    yield found.rows()
                    found = _Found()
        if found.weight:
            yield found.rows()


@dataclass(frozen=True, slots=True)
class _Values:
    """A field's values: their places among its counts, and as numbers where they are."""

    places: Places
    numbers: Floats | None


class _Field:
    """A binning, ready to be used."""

    def __init__(self, binning: Binning) -> None:
        self.binning = binning
        self.refused = False
        self.categories = pa.array(binning.categories, pa.string())
        self.locate = None if binning.kind is BinKind.CATEGORY else locator(np.array(binning.edges))


def _values(field: _Field, values: pa.Array | None, size: int) -> _Values:
    if values is None or values.null_count == size:
        return _Values(np.full(size, NULL, np.int64), None)
    try:
        return _placed(field, values)
    except (pa.ArrowException, ValueError, OverflowError):  # rows matter more than their profile
        if not field.refused:
            field.refused = True
            logger.exception(
                "values of %s have no place in its bins and are counted as other",
                field.binning.field,
                extra={"action": "values_not_placed", "field": field.binning.field},
            )
        return _Values(_of_other_type(values), None)


def _placed(field: _Field, values: pa.Array) -> _Values:
    if field.locate is None:
        return _Values(_category_places(field.categories, values), None)
    if not is_number(values.type):
        return _Values(_of_other_type(values), None)
    numbers = numbers_of(values)
    return _Values(_number_places(field.locate, field.binning.edges[-1], numbers), numbers)


def _number_places(locate: Locate, last: float, numbers: Floats) -> Places:
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers that are in no bin
        places = locate(numbers)
        places += UNDER
        places -= numbers == last  # which belongs to the range before
        total = numbers.sum()
    if not np.isfinite(total):
        places[np.isinf(numbers)] = OTHER
        places[np.isnan(numbers)] = NULL
    return places


def _category_places(categories: pa.Array, values: pa.Array) -> Places:
    if not countable(values.type):
        return _of_other_type(values)
    if not is_text(values.type):
        values = values.cast(pa.string())
    found = pc.index_in(values, value_set=categories)
    places: Places = found.fill_null(OTHER - FIRST_CATEGORY).to_numpy(zero_copy_only=False).astype(np.int64)
    places += FIRST_CATEGORY
    if values.null_count:
        places[values.is_null().to_numpy(zero_copy_only=False)] = NULL
    return places


def _of_other_type(values: pa.Array) -> Places:
    return np.where(values.is_null().to_numpy(zero_copy_only=False), NULL, OTHER)


def locator(edges: Floats) -> Locate:
    """What tells, for each number, how many of the ascending `edges` it is not below; anything for NaN.

    As `edges.searchsorted(numbers, "right")`, some eight times as quick: a number's cell among equally wide
    ones, or among those between powers of two, says it but for the edges in the same cell.
    """
    with np.errstate(over="ignore"):  # whose cells are too few, or too many
        scale = (_CELLS - 1) / (edges[-1] - edges[0])
    cells: list[Callable[[Floats], Places]] = [partial(_even_cells, edges[0], scale)]
    if edges[0] >= 0:
        first, last = (int(bits) for bits in edges[[0, -1]].view(np.int64))
        shift = _MANTISSA
        while shift > 0 and (last - first) >> (shift - 1) < _CELLS:
            shift -= 1
        cells.append(partial(_power_cells, first, shift))
    tables = [_Table.of(edges, each) for each in cells]
    best = min(tables, key=lambda each: each.crowd)
    if best.crowd > _CROWDED:
        return lambda numbers: edges.searchsorted(numbers, side="right")
    return best


def _even_cells(first: float, scale: float, numbers: Floats) -> Places:
    cells = (numbers - first) * scale  # NaN where it is 0 times infinity, or none at all: in the first cell
    return np.fmin(np.fmax(cells, 0.0), _CELLS - 1.0).astype(np.int64)


def _power_cells(first: int, shift: int, numbers: Floats) -> Places:
    bits = np.ascontiguousarray(numbers).view(np.int64)
    cells: Places = np.minimum((np.maximum(bits, first) - first) >> shift, _CELLS - 1)
    return cells


@dataclass(frozen=True, slots=True)
class _Table:
    """How many edges are in the cells before each cell.

    Cells never go down while numbers go up, so an edge in a cell before that of a number is below it.
    """

    cell: Callable[[Floats], Places]
    before: Places
    edges: Floats
    crowd: int

    @classmethod
    def of(cls, edges: Floats, cell: Callable[[Floats], Places]) -> "_Table":
        with np.errstate(over="ignore", invalid="ignore"):
            inside = np.bincount(cell(edges), minlength=_CELLS)
        before = np.concatenate([[0], np.cumsum(inside)[:-1]]).astype(np.int16)
        return cls(cell, before, np.append(edges, np.nan), int(inside.max()))

    def __call__(self, numbers: Floats) -> Places:
        places = self.before.take(self.cell(numbers))
        for _ in range(self.crowd):
            places += numbers >= self.edges.take(places)
        return places


@dataclass(frozen=True, slots=True)
class _Grouping:
    """Rows in the order of their groups.

    Attributes:
        order: Rows that belong to a group, in its order; None where it is the order that they have.
        starts: Where each group starts.
        group: Of each row, the number of its group; None where there is one group.
        keys: Columns `version`, `stage`, `segment`, `time` with a row for each group.
    """

    order: Places | None
    starts: Places
    group: Places | None
    keys: pa.Table

    def parts(self, most: int) -> Iterator["_Grouping"]:
        """The same groups, at most so many at a time."""
        count = len(self.starts)
        if self.group is None or count <= most:
            yield self
            return
        order = np.arange(len(self.group)) if self.order is None else self.order
        ends = np.append(self.starts, len(self.group))
        for first in range(0, count, most):
            last = min(first + most, count)
            rows = slice(ends[first], ends[last])
            yield _Grouping(
                order[rows],
                self.starts[first:last] - ends[first],
                self.group[rows] - first,
                self.keys.slice(first, last - first),
            )


def _groupings(
    columns: Mapping[str, pa.Array], segments: Sequence[_Field], *, whole: bool
) -> list[_Grouping]:
    hours = pc.floor_temporal(columns["time"], unit=GRAIN)
    parts = [columns["version"], columns["stage"], hours]
    groupings = [_grouping(parts, None, ALL_ROWS, None)] if whole else []
    for each in segments:
        values = columns.get(each.binning.field)
        if values is None:
            continue
        places = _values(each, values, len(values)).places - FIRST_CATEGORY
        inside = (places >= 0) & (places < MOST_SEGMENTS)
        if inside.any():
            groupings.append(_grouping(parts, np.where(inside, places, -1), each.binning.field, each))
    return groupings


def _grouping(
    parts: Sequence[pa.Array], places: Places | None, segment: str, field: _Field | None
) -> _Grouping:
    codes = np.zeros(len(parts[0]), np.int64)
    for part in parts:
        encoded = part.dictionary_encode(null_encoding="encode")
        codes = codes * len(encoded.dictionary) + encoded.indices.to_numpy(zero_copy_only=False)
    if places is not None:
        codes = codes * (MOST_SEGMENTS + 1) + places + 1
    order: Places | None = None
    if places is not None or (len(codes) > 1 and (codes[1:] < codes[:-1]).any()):
        order = np.argsort(codes, kind="stable")
        if places is not None:
            order = order[places[order] >= 0]
        codes = codes[order]
    changes = np.flatnonzero(codes[1:] != codes[:-1]) + 1
    starts = np.concatenate([[0], changes])
    group = (
        None if not len(changes) else np.repeat(np.arange(len(starts)), np.diff(starts, append=len(codes)))
    )
    first = starts if order is None else order[starts]
    version, stage, hours = (part.take(pa.array(first)) for part in parts)
    if places is None or field is None:
        segments = pa.repeat(pa.scalar(segment), len(starts))
    else:
        segments = pa.array([f"{segment}={field.binning.categories[place]}" for place in places[first]])
    keys = pa.table({"version": version, "stage": stage, "segment": segments, "time": hours})
    return _Grouping(order, starts, group, keys)


class _Found:
    """Rows of a profile while they are counted, as columns."""

    def __init__(self) -> None:
        self.weight = 0
        self._keys: list[pa.Table] = []
        self._binnings: list[Binning] = []
        self._counts: list[npt.NDArray[np.int64]] = []
        self._statistics: list[npt.NDArray[np.float64]] = []

    def add(self, binning: Binning, grouping: _Grouping, values: _Values) -> None:
        """Count a field in each group."""
        order, groups, length = grouping.order, len(grouping.starts), binning.length
        self.weight += groups * (length + _KEYS_WEIGHT)
        places = values.places if order is None else values.places[order]
        if grouping.group is not None:
            places = grouping.group * length + places
        self._keys.append(grouping.keys)
        self._binnings.append(binning)
        self._counts.append(np.bincount(places, minlength=groups * length))
        if values.numbers is None:
            statistics = np.full((4, groups), np.nan)
            statistics[:2] = 0.0
        else:
            statistics = _statistics(
                values.numbers if order is None else values.numbers[order], grouping.starts
            )
        self._statistics.append(statistics)

    def rows(self) -> pa.Table:
        """All of them."""
        sizes = np.array([keys.num_rows for keys in self._keys])
        lengths = np.repeat([binning.length for binning in self._binnings], sizes)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        counts = pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(self._counts)))
        owner = pa.array(np.repeat(np.arange(len(sizes)), sizes))
        sums, squares, least, greatest = np.concatenate(self._statistics, axis=1)
        keys = pa.concat_tables(self._keys).combine_chunks()
        columns = {name: keys.column(name) for name in keys.column_names} | {
            "binning_id": pa.array([each.binning_id for each in self._binnings]).take(owner),
            "field": pa.array([each.field for each in self._binnings]).take(owner),
            "grain": pa.repeat(pa.scalar(GRAIN), len(owner)),
            "counts": counts,
            "sum": sums,
            "sum_squares": squares,
            "minimum": pa.array(least, from_pandas=True),
            "maximum": pa.array(greatest, from_pandas=True),
        }
        return pa.table([columns[name] for name in COUNTED_ROWS.names], schema=COUNTED_ROWS)


def _statistics(numbers: Floats, starts: Places) -> npt.NDArray[np.float64]:
    """Sum, sum of squares, least and greatest of the finite numbers of each group; NaN where is none."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.add.reduceat(numbers, starts)
        if np.isfinite(sums).all():
            return np.stack(
                [
                    sums,
                    np.add.reduceat(numbers * numbers, starts),
                    np.minimum.reduceat(numbers, starts),
                    np.maximum.reduceat(numbers, starts),
                ]
            )
        finite = np.isfinite(numbers)
        kept = np.where(finite, numbers, 0.0)
        least = np.minimum.reduceat(np.where(finite, numbers, np.inf), starts)
        greatest = np.maximum.reduceat(np.where(finite, numbers, -np.inf), starts)
        none = np.logical_or.reduceat(finite, starts) == 0
        return np.stack(
            [
                np.add.reduceat(kept, starts),
                np.add.reduceat(kept * kept, starts),
                np.where(none, np.nan, least),
                np.where(none, np.nan, greatest),
            ]
        )


def bin_values(values: pa.Array, binning: Binning) -> tuple[Places, Floats]:
    """Counts of all `values` together, and sum, sum of squares, least and greatest of the finite numbers."""
    found = _values(_Field(binning), values, len(values))
    counts = np.bincount(found.places, minlength=binning.length)
    if found.numbers is None or not len(values):
        return counts, np.array([0.0, 0.0, np.nan, np.nan])
    return counts, _statistics(found.numbers, np.array([0]))[:, 0]


def add_up(rows: pa.Table) -> pa.Table:
    """Leave one row of each key of a profile whose rows are sorted by their keys."""
    if rows.num_rows < 2:
        return rows
    rows = rows.combine_chunks()
    changes = np.zeros(rows.num_rows, bool)
    changes[0] = True
    for name in PROFILE_KEYS:
        codes = rows.column(name).combine_chunks().dictionary_encode(null_encoding="encode").indices
        numbers = codes.to_numpy(zero_copy_only=False)
        changes[1:] |= numbers[1:] != numbers[:-1]
    starts = np.flatnonzero(changes)
    if len(starts) == rows.num_rows:
        return rows
    sums, squares, least, greatest = (
        rows.column(name).to_numpy() for name in ("sum", "sum_squares", "minimum", "maximum")
    )
    with np.errstate(over="ignore", invalid="ignore"):
        summed = {
            "counts": _added_counts(rows.column("counts").combine_chunks(), starts, changes),
            "sum": np.add.reduceat(sums, starts),
            "sum_squares": np.add.reduceat(squares, starts),
            "minimum": pa.array(np.fmin.reduceat(least, starts), from_pandas=True),
            "maximum": pa.array(np.fmax.reduceat(greatest, starts), from_pandas=True),
        }
    kept = rows.select(PROFILE_KEYS).take(pa.array(starts))
    columns = [summed[name] if name in summed else kept.column(name) for name in rows.schema.names]
    return pa.table(columns, schema=rows.schema)


def _added_counts(counts: pa.ListArray, starts: Places, changes: npt.NDArray[np.bool_]) -> pa.ListArray:
    """Sums, place by place, of the lists from each start to the next; those are of one length."""
    begins = counts.offsets.to_numpy().astype(np.int64)
    flat = counts.values.to_numpy()[begins[0] : begins[-1]]
    begins -= begins[0]
    lengths = np.diff(begins)
    offsets = np.concatenate([[0], np.cumsum(lengths[starts])])
    shifts = offsets[np.cumsum(changes) - 1] - begins[:-1]
    places = np.repeat(shifts, lengths) + np.arange(begins[-1])
    sums = np.bincount(places, weights=flat, minlength=offsets[-1]).astype(np.int64)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(sums))
