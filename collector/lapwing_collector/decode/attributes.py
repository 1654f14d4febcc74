"""The known attributes of records as columns."""

from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lapwing import semconv
from lapwing_collector.decode.columns import (
    BOOL,
    DOUBLE,
    INT,
    NULL,
    STRING,
    TYPES,
    Entries,
    Index,
    Kinds,
    Mask,
    any_of,
    scatter,
)

KIND_OF: Final = {
    semconv.MODEL_NAME: STRING,
    semconv.MODEL_VERSION: STRING,
    semconv.MODEL_VARIANT: STRING,
    semconv.MODEL_UPSTREAM: STRING,
    semconv.PREDICTION_ID: STRING,
    semconv.PREDICTION_TIME: INT,
    semconv.PREDICTION_DURATION: DOUBLE,
    semconv.PREDICTION_STAGE: STRING,
    semconv.PREDICTION_FALLBACK: BOOL,
    semconv.PREDICTION_WEIGHT: DOUBLE,
    semconv.REQUEST_ID: STRING,
    semconv.LABEL_SOURCE: STRING,
    semconv.BATCH_ROWS: INT,
    semconv.SEQUENCE: INT,
    semconv.ERROR_TYPE: STRING,
    semconv.EXCEPTION_MESSAGE: STRING,
}
"""The attributes that become columns, and the kind of value each takes."""


def fitting(kind: int) -> tuple[int, ...]:
    """The kinds of value that a column of `kind` takes: its own and, where it is a number, an integer."""
    return (kind, INT) if kind == DOUBLE else (kind,)


class Attributes:
    """The attributes of `count` records; of a repeated key the last value counts.

    Attributes:
        entries: All attributes; owned by records.
    """

    def __init__(self, entries: Entries, count: int) -> None:
        self.entries = entries
        self._count = count
        self._present = KIND_OF.keys() & set(entries.names)

    def column(self, key: str, rows: Index) -> pa.Array:
        """The known attribute `key` of the records `rows`; null where absent or not fitting."""
        kind = KIND_OF[key]
        column = pa.nulls(len(rows), TYPES[kind])
        if key not in self._present:
            return column
        chosen = slice(None) if len(rows) == self._count else rows
        found, kinds = self._found[_PLACE[key], chosen], self._kinds[_PLACE[key], chosen]
        for fit in fitting(kind):
            fits = kinds == fit
            if fits.any():
                values = scatter(self.entries.values.members[fit], np.where(fits, found, -1))
                values = values if fit == kind else values.cast(TYPES[kind], safe=False)
                column = values if fits.all() else pc.coalesce(column, values)
        return column

    def misplaced(self, keys: frozenset[str]) -> Mask:
        """Which records have one of the known attributes `keys` whose column does not take its value."""
        wrong = np.zeros(self._count, bool)
        for key in keys & self._present:
            wrong |= ~any_of(NULL, *fitting(KIND_OF[key]))[self._kinds[_PLACE[key]]]
        return wrong

    @cached_property
    def _found(self) -> Index:
        """Position of the entry of each known attribute (rows) of each record (columns), -1 where absent."""
        entries = self.entries
        places = np.array([_PLACE.get(name, len(_PLACE)) for name in entries.names], np.int64)
        found = np.full((len(_PLACE) + 1) * self._count, -1)
        slots = places[entries.keys] * self._count + entries.owners
        np.maximum.at(found, slots, np.arange(len(slots)))
        return found.reshape(-1, self._count)[:-1]

    @cached_property
    def _kinds(self) -> Kinds:
        """The kind of value of each known attribute (rows) of each record (columns), NULL where absent."""
        kinds: Kinds = np.append(self.entries.values.kinds, np.uint8(NULL))  # NULL is where -1 points
        return kinds[self._found]


_PLACE: Final = {key: place for place, key in enumerate(KIND_OF)}
