"""Merging of profiles: rows of one key become one row, which has their sums."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
"""So many rows are added up in memory; those of one model, hour, segment and field are never apart."""


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
    """Conditions that take the rows apart, in order, each for about as many as may be.

    Where those of one model and hour are too many, by segment and field as well.
    """
    found = _counted(rewriter, where, "table_name, time", {})
    for begin, end in _runs(found):
        if begin is end and begin["n"] > _ROWS_AT_ONCE:
            hour = {"table_name": begin["table_name"], "time": begin["time"]}
            condition = "table_name = $table_name AND time = $time"
            yield from _apart(rewriter, where, condition, hour, ("segment", "field"))
            continue
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


def _apart(
    rewriter: Rewriter, where: str, condition: str, parameters: dict[str, Any], names: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Take the rows of a condition apart by the first of some columns, and by the others where it must be."""
    name, *others = names
    for begin, end in _runs(_counted(rewriter, f"{where} AND {condition}", name, parameters)):
        if begin is end and begin["n"] > _ROWS_AT_ONCE and others:
            one = f"{condition} AND {name} = ${name}"
            yield from _apart(rewriter, where, one, parameters | {name: begin[name]}, others)
        else:
            some = f"{condition} AND {name} BETWEEN $first AND $last"
            yield some, parameters | {"first": begin[name], "last": end[name]}


def _counted(
    rewriter: Rewriter, where: str, columns: str, parameters: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """How many rows have each value of some columns, in their order."""
    sql = f"SELECT {columns}, count(*) AS n FROM {PROFILES.sql} WHERE {where} GROUP BY ALL ORDER BY ALL"
    found: list[dict[str, Any]] = rewriter.read(sql, parameters).to_pylist()
    return found


def _runs(found: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The first and the last of what may be read together; the same one where it is enough by itself."""
    first = 0
    rows = 0
    for at, each in enumerate(found):
        rows += each["n"]
        if at + 1 < len(found) and rows + found[at + 1]["n"] <= _ROWS_AT_ONCE:
            continue
        yield found[first], each
        first, rows = at + 1, 0
