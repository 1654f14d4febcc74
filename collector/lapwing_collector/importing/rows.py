"""Rows on their way from a file to the collector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is left out.

    Attributes:
        line: Where it begins in a CSV file, the header being line 1; in Parquet, which row it is, from 1 on.
        reason: Why, for a person.
    """

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of a file as the columns of a batch, and those that are left out.

    Attributes:
        columns: By name, as docs/conventions.md has them.
        rows: How many there are in each.
        rejected: The others.
    """

    columns: Mapping[str, pa.Array]
    rows: int
    rejected: Sequence[Reject]
