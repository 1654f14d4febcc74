"""Merging of profiles: rows of one key become one row, which has their sums."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa

from lapwing_collector.lake.retention import PROFILES
from lapwing_collector.lake.rewriting import Reading, Rewriter
from lapwing_collector.model.profiles import PROFILE_ROWS

_ORDER: Final = (
    "table_name",
    "time",
    "segment",
    "field",
    "binning_id",
    "version",
    "stage",
    "grain",
    "model",
)
"""Of the rows of a file: a query about a model and a span of time finds them next to each other."""

_ROWS_AT_ONCE: Final = 20_000
"""So many rows are added up in memory; those of one model and hour are never apart."""


def rolled_up(add_up: Callable[[pa.Table], pa.Table]) -> Reading:
    """What reads rows of profiles added up, sorted, and a part at a time.

    Args:
        add_up: Leaves one row of each key of sorted rows.
    """

    def read(rewriter: Rewriter, where: str) -> Iterator[pa.Table]:
        for span, parameters in _spans(rewriter, where):
            rows = rewriter.read(
                f"SELECT {', '.join(PROFILE_ROWS.names)} FROM {PROFILES.sql} WHERE {where} AND {span} "
                f"ORDER BY {', '.join(_ORDER)}",
                parameters,
            )
            yield add_up(rows.cast(PROFILE_ROWS))

    return read


def _spans(rewriter: Rewriter, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Conditions that take the rows apart by model and hour, in order, each for about as many as may be."""
    found = rewriter.read(
        f"SELECT table_name, time, count(*) AS n FROM {PROFILES.sql} WHERE {where} GROUP BY ALL ORDER BY ALL"
    ).to_pylist()
    first = 0
    rows = 0
    for at, each in enumerate(found):
        rows += each["n"]
        if at + 1 < len(found) and rows + found[at + 1]["n"] <= _ROWS_AT_ONCE:
            continue
        begin, end = found[first], each
        between = (
            "table_name BETWEEN $first_table AND $last_table "
            "AND (table_name > $first_table OR time >= $first_time) "
            "AND (table_name < $last_table OR time <= $last_time)"
        )
        yield (
            between,
            {
                "first_table": begin["table_name"],
                "first_time": begin["time"],
                "last_table": end["table_name"],
                "last_time": end["time"],
            },
        )
        first, rows = at + 1, 0
