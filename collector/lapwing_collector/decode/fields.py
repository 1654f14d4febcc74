"""The fields that users log in the bodies of records: one column per path and kind of value.

Bodies of the usual shape, maps of maps of scalars or of lists of one scalar kind, are read from columns
without a look at single rows. A body that is *odd* in any respect (deeper maps, mixed lists, repeated keys,
unknown keys, no map at all) is read from its object instead, and only such a body has something to say in
`extra`.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.decode.columns import (
    LIST,
    LIST_OF,
    MAP,
    NULL,
    SCALARS,
    TYPES,
    Index,
    Mask,
    UnusableError,
    Values,
    any_of,
    as_json,
    gather,
    repeated,
    scatter,
)
from lapwing_collector.decode.request import Request
from lapwing_collector.decode.values import json_text, kind_of
from lapwing_collector.model.records import FieldColumn

Path = tuple[str, ...]
Extras = dict[int, dict[str, Any]]
"""By place of a row in its batch, what goes to its `extra`."""

MAX_CELLS: Final = 1 << 24
"""Cells that the columns of one batch may have together; fields over that go to `extra` by their dotted path.

Rows that share no field would otherwise take memory for rows times fields, however short the request.
"""


LISTS: Final = tuple(kind for number, kind in sorted(TYPES.items()) if number > LIST_OF)
"""The types of lists; an empty list among others takes the first that there is."""


@dataclass(frozen=True, slots=True)
class Roots:
    """Which keys of a body hold fields.

    Attributes:
        keys: The keys that do; what another key holds goes to `extra`.
        scalar: Whether such a key may hold a value itself, and not only a map of fields.
    """

    keys: frozenset[str]
    scalar: bool = False


class Bodies:
    """The bodies of a request's records, read as fields under `roots`."""

    def __init__(self, request: Request, roots: Roots) -> None:
        self._request = request
        self._roots = roots
        self._odd = _odd(request, roots)
        self._levels = [_fields(request)]
        if roots.scalar:
            self._levels.append(_sections(request))

    def columns(self, rows: Index) -> tuple[tuple[FieldColumn, ...], Extras]:
        """The fields of the records `rows` (ascending), and what of their bodies goes to `extra`."""
        odd = self._odd[rows]
        batch = Columns(len(rows))
        for level in self._levels:
            batch.add_level(level, rows, ~odd)
        for place in np.flatnonzero(odd).tolist():
            batch.add_body(place, self._request.plain_body(rows[place]), self._roots)
        return batch.finish(), batch.extras


@dataclass(frozen=True, slots=True)
class _Level:
    """The values at one depth of the bodies.

    Attributes:
        offsets: Position of each record's first value, and at the end the number of values.
        paths: The number of each value's path.
        path: Gives the path of a number.
        values: The values.
    """

    offsets: Index
    paths: Index
    path: Callable[[int], Path]
    values: Values


def _sections(request: Request) -> _Level:
    sections = request.sections
    return _Level(sections.offsets, sections.keys, lambda number: (sections.names[number],), sections.values)


def _fields(request: Request) -> _Level:
    sections, fields = request.sections, request.fields
    width = len(fields.names)
    return _Level(
        fields.offsets[sections.offsets],
        sections.keys[fields.owners] * width + fields.keys,
        lambda number: (sections.names[number // width], fields.names[number % width]),
        fields.values,
    )


def _odd(request: Request, roots: Roots) -> Mask:
    """Which records have a body that columns do not express."""
    sections, fields = request.sections, request.fields
    odd: Mask = ~_MAP_OR_NULL[request.bodies]
    root = np.array([name in roots.keys for name in sections.names], bool)
    usual = root[sections.keys] & (_VALUE_OR_MAP if roots.scalar else _MAP_OR_NULL)[sections.values.kinds]
    if roots.scalar:  # here an empty map is a value
        usual &= (sections.values.kinds != MAP) | (np.diff(fields.offsets) > 0)
    odd[sections.owners[~usual]] = True
    odd[repeated(sections.owners, sections.keys)] = True
    odd[sections.owners[fields.owners[_CONTAINER[fields.values.kinds]]]] = True
    odd[sections.owners[repeated(fields.owners, fields.keys)]] = True
    return odd


_CONTAINER: Final = any_of(LIST, MAP)
_MAP_OR_NULL: Final = any_of(MAP, NULL)
_VALUE_OR_MAP: Final = any_of(MAP, NULL, *SCALARS)


class Columns:
    """The columns of one batch while they are filled.

    Attributes:
        extras: By place of a row, what of its body goes to `extra`.
    """

    def __init__(self, length: int) -> None:
        self.extras: Extras = defaultdict(dict)
        self._length = length
        self._paths: set[Path] = set()
        self._columns: dict[Path, dict[int, pa.Array]] = {}
        self._cells: dict[Path, dict[int, dict[int, Any]]] = {}

    def add_level(self, level: _Level, rows: Index, wanted: Mask) -> None:
        """Take the values of one level, for those of the records `rows` that are `wanted`."""
        positions, places = gather(level.offsets, rows)
        chosen = wanted[places] & _STORED[level.values.kinds[positions]]
        positions, places = positions[chosen], places[chosen]
        if not len(positions):
            return
        paths, kinds = level.paths[positions], level.values.kinds[positions]
        order = np.argsort(paths << 8 | kinds, kind="stable")
        paths, kinds, positions, places = paths[order], kinds[order], positions[order], places[order]
        sorted_members = {
            kind: level.values.members[kind].take(pa.array(positions[kinds == kind]))
            for kind in np.flatnonzero(np.bincount(kinds)).tolist()
        }
        starts = np.flatnonzero(np.diff(paths << 8 | kinds, prepend=-1))
        used = dict.fromkeys(sorted_members, 0)
        for start, end in itertools.pairwise([*starts.tolist(), len(order)]):
            kind = int(kinds[start])
            column = sorted_members[kind].slice(used[kind], end - start)
            used[kind] += end - start
            self._add_column(level.path(int(paths[start])), kind, column, places[start:end])

    def _add_column(self, path: Path, kind: int, values: pa.Array, places: Index) -> None:
        """Take the values that one field has at `places` (ascending)."""
        if not self._admit(path):
            for place, value in zip(places.tolist(), values.to_pylist(), strict=True):
                self.extras[place][".".join(path)] = value
            return
        if len(places) < self._length:
            index = np.full(self._length, -1)
            index[places] = np.arange(len(places))
            values = scatter(values, index)
        self._columns.setdefault(path, {})[kind] = values

    def add_body(self, place: int, body: Any, roots: Roots) -> None:
        """Take all that an odd body holds."""
        if not isinstance(body, dict):
            self.extras[place]["body"] = body
            return
        for key, value in body.items():
            if key not in roots.keys or not (roots.scalar or isinstance(value, dict | None)):
                self.extras[place][key] = value
            elif value or roots.scalar:
                self.add_value(place, (key,), value)

    def add_value(self, place: int, path: Path, value: Any) -> None:
        """Take the value at `path` of one row; what a map holds has longer paths."""
        if value is None:
            return
        if value and isinstance(value, dict):
            for key, inner in value.items():
                self.add_value(place, (*path, key), inner)
        elif self._admit(path):
            self._cells.setdefault(path, {}).setdefault(kind_of(value), {})[place] = value
        else:
            self.extras[place][".".join(path)] = value

    def add_array(self, path: Path, kind: int, values: pa.Array) -> None:
        """Take the values that one field has in all rows, null where it has none of this kind.

        Raises:
            UnusableError: There are too many columns for so many rows.
        """
        if values.null_count == len(values):
            return
        if not self._admit(path):
            raise UnusableError(f"there are more than {MAX_CELLS} values: send fewer rows at once")
        self._columns.setdefault(path, {})[kind] = values

    def _admit(self, path: Path) -> bool:
        """Whether there is, or may be, a column at `path`."""
        if path not in self._paths and (len(self._paths) + 1) * self._length <= MAX_CELLS:
            self._paths.add(path)
        return path in self._paths

    def finish(self) -> tuple[FieldColumn, ...]:
        """All columns filled."""
        for path, cells in self._cells.items():
            columns = self._columns.setdefault(path, {})
            _settle_empty_lists(cells, [*columns, *cells])
            for kind, values in cells.items():
                column = self._scattered(kind, values)
                columns[kind] = pc.coalesce(columns[kind], column) if kind in columns else column
        return tuple(
            FieldColumn(path, column) for path, kinds in self._columns.items() for column in kinds.values()
        )

    def _scattered(self, kind: int, cells: dict[int, Any]) -> pa.Array:
        index = np.full(self._length, -1)
        index[list(cells)] = np.arange(len(cells))
        if kind in TYPES:
            return scatter(pa.array(list(cells.values()), TYPES[kind]), index)
        return scatter(as_json([json_text(value) for value in cells.values()]), index)


_STORED: Final = any_of(*TYPES)


def _settle_empty_lists(cells: dict[int, dict[int, Any]], kinds: list[int]) -> None:
    """Give empty lists the kind of the field's other lists in the batch, where it has such."""
    typed = min((kind for kind in kinds if kind > LIST_OF), default=LIST)
    untyped = cells.pop(LIST, {}) | cells.pop(MAP, {})
    for place, value in untyped.items():
        kind = typed if value == [] else LIST
        cells.setdefault(kind, {})[place] = value
