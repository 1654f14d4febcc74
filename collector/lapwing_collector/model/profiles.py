"""Profiles: counts of a model's values in bins that do not move, so that any span of time is a sum of rows.

How the `counts` of a row are laid out depends on its binning:

- `number` and `duration`, with edges e0 < … < ek: null (NaN too), other (infinities, values of another type),
  under (< e0), [e0, e1), …, [ek-1, ek], over (> ek): k + 4 counts;
- `category`, with the categories c1, …, cm: null, other, c1, …, cm: m + 2 counts.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import pyarrow as pa

from lapwing_collector.model.records import PREDICTION_ROWS

_TIME = pa.timestamp("us")
COUNTS: Final = pa.list_(pa.int64())

BINS: Final = 64
"""Bins of a number between its quantiles; a value that is frequent by itself gets one more. A number of no
more different values has one for each of these."""

NULL: Final = 0
"""Place of the nulls among the counts."""
OTHER: Final = 1
"""Place of what is not null and in no bin."""
UNDER: Final = 2
"""Place of the numbers below the first edge; the first range is the next."""
FIRST_CATEGORY: Final = 2
"""Place of the first category."""

ALL_ROWS: Final = ""
"""The segment of every row; the others are written `inputs.carrier=AA`."""

MOST_SEGMENTS: Final = 50
"""Values by which a field tells segments apart, the most frequent ones of its binning."""

BINNING_ROWS: Final = pa.schema(
    [
        ("binning_id", pa.string()),
        ("model", pa.string()),
        ("table_name", pa.string()),
        ("field", pa.string()),
        ("kind", pa.string()),
        ("edges", pa.list_(pa.float64())),
        ("categories", pa.list_(pa.string())),
        ("created_from", pa.string()),
        ("created_at", _TIME),
    ]
)
"""`created_from` says whose values the bins are made of: `rows`, or a reference, `train:1`; or that they
only tell `segments` apart, as categories of a field whose values are counted in bins of numbers."""

SEGMENTS: Final = "segments"
"""What is in `created_from` of these."""

SEGMENT_ROWS: Final = pa.schema(
    [("model", pa.string()), ("table_name", pa.string()), ("field", pa.string()), ("created_at", _TIME)]
)
"""Fields by whose values the counts of a model are kept as well."""

PROFILE_ROWS: Final = pa.schema(
    [
        ("model", pa.string()),
        ("table_name", pa.string()),
        ("version", pa.string()),
        ("stage", pa.string()),
        ("segment", pa.string()),
        ("binning_id", pa.string()),
        ("field", pa.string()),
        ("time", _TIME),
        ("grain", pa.string()),
        ("counts", COUNTS),
        ("sum", pa.float64()),
        ("sum_squares", pa.float64()),
        ("minimum", pa.float64()),
        ("maximum", pa.float64()),
    ]
)
"""The last four are of the finite numbers of a field."""

PROFILE_KEYS: Final = PROFILE_ROWS.names[: PROFILE_ROWS.get_field_index("counts")]
"""What tells the rows of a profile apart; rows that agree in these add up."""

COUNTED_ROWS: Final = pa.schema(
    [field for field in PROFILE_ROWS if field.name not in {"model", "table_name"}]
)
"""A profile before it is known whose it is."""

REFERENCE_SET_ROWS: Final = pa.schema(
    [
        ("model", pa.string()),
        ("table_name", pa.string()),
        ("reference", pa.string()),
        ("version", pa.int64()),
        ("role", pa.string()),
        ("source", pa.string()),
        ("policy", pa.json_(pa.string())),
        ("sample_count", pa.int64()),
        ("created_at", _TIME),
        ("has_rows", pa.bool_()),
    ]
)

REFERENCE_BIN_ROWS: Final = pa.schema(
    [
        ("model", pa.string()),
        ("table_name", pa.string()),
        ("reference", pa.string()),
        ("version", pa.int64()),
        ("field", pa.string()),
        ("binning_id", pa.string()),
        ("counts", COUNTS),
        ("sum", pa.float64()),
        ("sum_squares", pa.float64()),
        ("minimum", pa.float64()),
        ("maximum", pa.float64()),
        ("distinct_count", pa.int64()),
        ("quantiles", pa.list_(pa.float64())),
    ]
)
"""`quantiles` are those at 0, 0.01, …, 1 of the finite numbers."""

_NOT_KEPT: Final = frozenset({"error_message", "resource", "trace_id", "span_id", "received_at"})
"""Columns of predictions that say nothing about what they are distributed as."""

REFERENCE_ROWS: Final = pa.schema(
    [
        ("reference", pa.string()),
        ("reference_version", pa.int64()),
        ("row_number", pa.int64()),
        *((field.name, field.type) for field in PREDICTION_ROWS if field.name not in _NOT_KEPT),
    ]
)
"""Columns of rows of references, beside users' fields; `row_number` is the place in the file, from 0."""


class BinKind(StrEnum):
    """What the bins of a field are."""

    NUMBER = "number"
    CATEGORY = "category"
    DURATION = "duration"


@dataclass(frozen=True, slots=True)
class Binning:
    """The bins of one field, which do not change any more.

    Attributes:
        binning_id: Unique in the lake.
        field: Dotted name of the field.
        kind: What the bins are.
        edges: Of numbers, ascending; at least two, or none for categories.
        categories: Texts that have a bin of their own.
    """

    binning_id: str
    field: str
    kind: BinKind
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """How many counts a row has."""
        return len(self.categories) + 2 if self.kind is BinKind.CATEGORY else len(self.edges) + 3


def _durations() -> tuple[float, ...]:
    """From 10 µs to a thousand seconds, ten bins for a factor of ten."""
    return tuple(float(f"{10 ** (tenth / 10):.6g}") for tenth in range(-20, 61))


DURATIONS: Final = Binning("duration", "duration_ms", BinKind.DURATION, edges=_durations())
"""The bins of every model's latency, in milliseconds: the same for all, from the first row on."""

ERRORS: Final = Binning("error", "error_type", BinKind.CATEGORY)
"""Those of errors: a call without one is null, any other `other`."""

GIVEN: Final = (DURATIONS, ERRORS)
"""The bins that every model has from its first row on, whatever its fields."""


class Counter(Protocol):
    """Counts rows of one model."""

    @property
    def fields(self) -> frozenset[str]:
        """Fields that have a binning."""
        ...

    def count(self, rows: pa.Table) -> Iterator[pa.Table]:
        """What `rows`, in the shape of the model's table, add to its profile: `COUNTED_ROWS`.

        It comes in parts, none of them empty, each of which takes little memory.
        """
        ...

    def count_columns(self, rows: pa.Table) -> Iterator[pa.Table]:
        """The same for rows whose columns are named by the fields."""
        ...


class MakeCounter(Protocol):
    """Makes what counts by some binnings."""

    def __call__(
        self, binnings: Sequence[Binning], segments: Sequence[Binning] = (), *, whole: bool = True
    ) -> Counter:
        """Count by `binnings`.

        Args:
            binnings: One for each field.
            segments: Those of fields by whose most frequent categories rows are told apart as well.
            whole: Whether all rows together are counted, too.
        """
        ...


@dataclass(frozen=True, slots=True)
class Profiling:
    """How profiles are made: given to the lake, which keeps them.

    Attributes:
        counter: Counts by some binnings.
        freeze: Makes binnings from a sample, whose columns are named by the fields; fields that have too few
            values get none. The text says whose they are, so that no two models share an id; fields that are
            named last are categories, even if their values are numbers.
        countable: Names of the fields whose values are counted, of columns of these types.
        add_up: Leaves one row of each key of rows of `PROFILE_ROWS` that are sorted by their keys.
    """

    counter: MakeCounter
    freeze: Callable[[pa.Table, str, Collection[str]], list[Binning]]
    countable: Callable[[Mapping[str, pa.DataType]], list[str]]
    add_up: Callable[[pa.Table], pa.Table]
