"""Predictions: the rows themselves, narrowed by what the address says."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from lapwing_collector.engine import identifier
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.description import ModelDescription, Task
from lapwing_collector.web.fields import expression_of
from lapwing_collector.web.pages.narrowing import (
    FILTERS,
    FIRST,
    HOWS,
    STAGES,
    Column,
    Narrowing,
    columns_of,
    is_mark,
    narrowing_of,
    schema_of,
    told_in_full,
)
from lapwing_collector.web.pages.newest import Newest
from lapwing_collector.web.pages.page import ElsewhereError, Page, View
from lapwing_collector.web.panels import Arguments, Panel, Query
from lapwing_collector.web.rendering import exact
from lapwing_collector.web.span import moment_of

PAGE_ROWS: Final = 100
_NEWEST_FIRST: Final = "time DESC, prediction_id"


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which rows an address asks for, in which order."""

    table: str
    columns: Sequence[Column]
    narrowing: Narrowing
    ordering: "_Ordering"


@dataclass(frozen=True, slots=True)
class _Ordering:
    """The order, a condition for what comes after the last row of the page before, and its parameters."""

    by: str
    beyond: str = ""
    told: Mapping[str, Any] = field(default_factory=dict)


def find(view: View) -> _Asked:
    """Which rows are asked for.

    Raises:
        ElsewhereError: The form for a further filter was sent.
        DecodeError: The address asks for nonsense.
    """
    _go_where_added(view)
    table = view.table()
    columns = columns_of(schema_of(view, table))
    return _Asked(table, columns, narrowing_of(view.asked, columns), _ordering(view, columns))


def show(view: View) -> Mapping[str, Any]:
    """One page of rows, the newest first."""
    asked: _Asked = view.found
    columns, narrowing = asked.columns, asked.narrowing
    found = _page(view, asked)
    rows = found[:PAGE_ROWS]
    _add_labels(view, asked.table, rows)
    about = view.asked.get("field")
    return {
        "columns": _shown(columns, rows, about),
        "all_columns": columns,
        "rows": rows,
        "has_labels": any(row.get("label") is not None for row in rows),
        "filters": narrowing.filters,
        "unknown": narrowing.unknown,
        "stage": narrowing.stage,
        "stages": STAGES,
        "hows": {how: words for how, (words, _) in HOWS.items()},
        "about": about,
        "after": _cursor(rows[-1]) if len(found) > PAGE_ROWS else None,
        "is_mark": is_mark,
        "rows_panel": view.panel("rows/rows", **_in_full(narrowing)),
        "rows_asked": {key: value for key, value in view.asked.items() if key not in {"after", "sort"}},
    }


def _go_where_added(view: View) -> None:
    name = view.asked.get("add")
    if not name:
        return
    how = view.asked.get("how", "")
    value = "yes" if how == "missing" else view.asked.get("value", "")
    parameter = f"{name}__{how}" if how in HOWS and how else name
    done = {"add": None, "how": None, "value": None, "after": None}
    raise ElsewhereError(view.link(**done, **{parameter: value}))


def _in_full(narrowing: Narrowing) -> dict[str, str]:
    """The filters as parameters with the whole names of their fields."""
    filters = {each.in_full: each.value for each in narrowing.filters}
    return filters | ({"stage": narrowing.stage} if narrowing.stage != "production" else {})


def _page(view: View, asked: _Asked) -> list[dict[str, Any]]:
    """A page of rows, and one more if there are more; the newest are looked for where they are."""
    condition, bound = asked.narrowing.where()
    ordering = asked.ordering
    selected = ",\n    ".join(
        f"{expression_of(each.field)} AS {identifier(each.field)}" for each in asked.columns
    )
    sql = (
        f"SELECT\n    {selected}\nFROM predictions_all.{identifier(asked.table)}\n"
        f"WHERE time >= $from AND time < $to\n    AND {condition}{ordering.beyond}\n"
        f"ORDER BY {ordering.by} LIMIT {PAGE_ROWS + 1}"
    )
    told = ordering.told
    until = view.span.until
    begins: Iterable[datetime] = (view.span.since,)
    if ordering.by == _NEWEST_FIRST:
        until = min(until, told["after"] + timedelta(microseconds=1)) if told else until
        begins = Newest.of(view, asked.table, asked.narrowing.stage, until).begins(PAGE_ROWS + 1)
    found: list[dict[str, Any]] = []
    for begin in begins:
        found = view.rows(sql, **bound, **told, **{"from": begin, "to": until})
        if len(found) > PAGE_ROWS:
            break
    return found


def _ordering(view: View, columns: Sequence[Column]) -> _Ordering:
    wanted = view.asked.get("sort", "")
    name = wanted.removeprefix("-")
    if name and any(each.field == name and each.kind != "nested" for each in columns):
        direction = "DESC" if wanted.startswith("-") else "ASC"
        return _Ordering(f"{expression_of(name)} {direction} NULLS LAST, time DESC, prediction_id")
    told = view.asked.get("after", "")
    if not told:
        return _Ordering(_NEWEST_FIRST)
    at, _, key = told.partition(" ")
    beyond = "\n    AND (time < $after OR (time = $after AND prediction_id > $after_id))"
    return _Ordering(_NEWEST_FIRST, beyond, {"after": moment_of(at, "after"), "after_id": key})


def _cursor(row: Mapping[str, Any]) -> str:
    return f"{row['time'].isoformat()}Z {row['prediction_id'] or ''}"


def _shown(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], about: str | None) -> list[Column]:
    """Columns in which these rows have something; the one that an alert is about before the other fields."""
    filled = [
        column
        for column in columns
        if column.field in FIRST[:2] or any(row[column.field] not in (None, [], {}) for row in rows)
    ]
    if about is not None:
        first = [column for column in filled if about in {column.field, column.label}]
        rest = [column for column in filled if column not in first]
        place = sum(column.field in FIRST for column in rest)
        filled = [*rest[:place], *first, *rest[place:]]
    return filled


def _add_labels(view: View, table: str, rows: list[dict[str, Any]]) -> None:
    """Put to rows what turned out to be true; of these alone, for which few files are read."""
    if not rows or not view.models.has_labels(table):
        return
    times = [row["time"] for row in rows]
    found = view.rows(
        f"SELECT prediction_id, time, label FROM labeled.{identifier(table)} "
        "WHERE time >= $first AND time <= $last AND list_contains($ids, prediction_id) AND label IS NOT NULL",
        first=min(times),
        last=max(times),
        ids=[row["prediction_id"] for row in rows if row["prediction_id"] is not None],
    )
    told = {(row["prediction_id"], row["time"]): row["label"] for row in found}
    described = view.description() if told else ModelDescription()
    said = described.prediction if described.task is Task.CLASSIFICATION else None
    for row in rows:
        label = told.get((row["prediction_id"], row["time"]))
        row["label"] = label
        row["is_right"] = _is_right(row.get(said or ""), label)


def _is_right(predicted: Any, truth: Any) -> bool | None:
    """Whether a class is the one that was predicted; None where that cannot be told by looking at both."""
    number = bool | int | float
    if isinstance(predicted, number) and isinstance(truth, number):
        return predicted == truth  # 1, 1.0 and true are one class
    if isinstance(predicted, str) and isinstance(truth, str):
        return predicted == truth
    return True if predicted is not None and exact(predicted) == exact(truth) else None


def _all_rows(arguments: Arguments) -> Query:
    """All rows that an address wants, with their labels, for who takes them away."""
    if arguments.table is None:
        raise DecodeError("say which model: ?model=NAME")
    narrowing = told_in_full(arguments.asked)
    condition, bound = narrowing.where()
    # Labels are of production; the view that has them tells no other stage.
    source = "labeled" if narrowing.stage == "production" else "predictions_all"
    return Query(
        f"SELECT *\nFROM {source}.{identifier(arguments.table)}\n"
        f"WHERE time >= $from AND time < $to\n    AND {condition}\nORDER BY time DESC",
        {"from": arguments.span.since, "to": arguments.span.until, **bound},
    )


PAGE: Final = Page(
    path="/model/rows",
    name="rows",
    title="Predictions",
    nav="Rows",
    show=show,
    of_model=True,
    in_place=True,
    begins=True,
    finds=find,
    panels=(
        Panel(
            name="rows/rows",
            title="Predictions",
            about="The predictions themselves, with their labels.",
            make=_all_rows,
            parameters=FILTERS,
        ),
    ),
)
