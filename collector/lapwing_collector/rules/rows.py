"""The result of a rule's SQL, read row by row: what are labels, what are values, what each row says."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from lapwing_collector.rules.query import ACTIVE, CLEAR
from lapwing_collector.rules.rule import Rule
from lapwing_collector.rules.sql import names_in

VALUE: Final = "value"
SAMPLE_COUNT: Final = "sample_count"
LABEL_COVERAGE: Final = "label_coverage"
REASON: Final = "reason"
"""A text for people, as metrics have where there is no value: it comes and goes, and is no label."""
_NUMBERS: Final = frozenset({VALUE, SAMPLE_COUNT, LABEL_COVERAGE})


class ColumnKind(StrEnum):
    """What a column's type makes of it."""

    LABEL = "label"
    INTEGER = "integer"
    NUMBER = "number"
    TIME = "time"
    TEXTS = "texts"
    OTHER = "other"


# Types as DuckDB and as Arrow name them, since results travel between processes as Arrow.
_KINDS: Final = {
    ColumnKind.LABEL: r"varchar|bool(ean)?|uuid|enum\(.*\)"
    r"|(large_)?string|string_view|dictionary<values=\w*string.*>",
    ColumnKind.INTEGER: r"u?(tiny|small|big|huge)?int(eger)?|u?int(8|16|32|64)",
    ColumnKind.NUMBER: r"double|float|halffloat|decimal(128|256)?\(.*\)",
    ColumnKind.TIME: r"timestamp(_\w+| with time zone)?|date|time( with time zone|_ns)?|interval"
    r"|timestamp\[\w+(, tz=.*)?\]|(date|time)(32|64)\[\w+\]|duration\[\w+\]|month_day_nano_interval",
    ColumnKind.TEXTS: r"varchar\[\]|(large_)?list<\w+: (large_)?string( not null)?>",
}


class ResultError(ValueError):
    """A result that no rule can be judged by; the message says what to change in its SQL."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result."""

    name: str
    kind: ColumnKind
    type: str


@dataclass(frozen=True, slots=True)
class Rows:
    """The result of a rule's SQL.

    Attributes:
        columns: In the order of the tuples' items.
        tuples: Plain Python values, None for NULL.
        truncated: The query was cut off at a row limit, so a row that is absent may yet exist.
    """

    columns: tuple[Column, ...]
    tuples: tuple[tuple[Any, ...], ...]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a result.

    Attributes:
        identity: What tells the row's alert from the others: label columns, None for NULL.
        labels: All label columns as text, empty for NULL.
        values: The other columns.
        value: None where the result has no column `value`, or it is NULL or NaN.
        active: The condition holds.
        clear: The resolve condition holds.
        conclusive: There is enough behind the row to judge it by.
    """

    identity: Mapping[str, str | None]
    labels: Mapping[str, str]
    values: Mapping[str, Any]
    value: float | None
    sample_count: int | None
    active: bool
    clear: bool
    conclusive: bool


def rows_from(
    columns: Iterable[tuple[str, str]], tuples: Iterable[Sequence[Any]], *, truncated: bool = False
) -> Rows:
    """Take over a query's result.

    Args:
        columns: Name and type of each column; types as DuckDB (`VARCHAR`) or Arrow (`string`) names them.
        tuples: A sequence of Python values per row, None for NULL.
        truncated: The query was cut off at a row limit.
    """
    known = tuple(Column(name, _kind(type_text), type_text) for name, type_text in columns)
    return Rows(known, tuple(tuple(_plain(item) for item in row) for row in tuples), truncated)


def read_rows(rule: Rule, rows: Rows) -> list[Row]:
    """Read a result as `rule` means it, ordered by identity.

    Raises:
        ResultError: A column is missing or of a type that cannot be used, or two rows have one identity.
    """
    columns = _checked_columns(rule, rows.columns)
    labels = [name for name, column in columns.items() if _is_label(rule, column)]
    identity = labels if rule.identity is None else rule.identity
    condition = f"{rule.condition or ''}\n{rule.resolve_condition or ''}"
    judged = [name for name in columns if name.lower() in {VALUE, *names_in(condition)}]
    read = [
        _row(rule, dict(zip(columns, items, strict=True)), labels, identity, judged) for items in rows.tuples
    ]
    _refuse_duplicates(read)
    return sorted(read, key=_order)


def _row(
    rule: Rule,
    cells: Mapping[str, Any],
    labels: Sequence[str],
    identity: Sequence[str],
    judged: Sequence[str],
) -> Row:
    texts = {name: _text(cells[name]) for name in labels}
    value = cells.get(VALUE)
    sample_count = cells.get(SAMPLE_COUNT)
    # DuckDB holds NaN > 0.2 to be TRUE, so an empty denominator would page someone.
    blank = any(_is_nan(cells[name]) for name in judged) or (VALUE in cells and value is None)
    undecided = not cells[ACTIVE] and cells[CLEAR] is None
    return Row(
        identity={name: texts[name] for name in identity},
        labels={name: text or "" for name, text in texts.items()},
        values={name: _shown(item) for name, item in cells.items() if name not in {*labels, ACTIVE, CLEAR}},
        value=None if value is None or _is_nan(value) else float(value),
        sample_count=None if sample_count is None or not math.isfinite(sample_count) else int(sample_count),
        active=bool(cells[ACTIVE]),
        clear=bool(cells[CLEAR]),
        conclusive=not blank
        and not undecided
        and not _too_few(rule, sample_count)
        and not _too_early(rule, cells.get(LABEL_COVERAGE)),
    )


def _checked_columns(rule: Rule, columns: Sequence[Column]) -> dict[str, Column]:
    """Give the columns by name, the special ones in lower case, or say what is wrong with them."""
    by_name = {
        name if (name := column.name.lower()) in _NUMBERS else column.name: column for column in columns
    }
    if len(by_name) < len(columns):
        raise ResultError(f"two columns have the same name: {', '.join(column.name for column in columns)}")
    for name, column in by_name.items():
        if column.kind is ColumnKind.OTHER:
            raise ResultError(
                f"column {name} has type {column.type}: neither label nor value; cast it or leave it out"
            )
        if name in _NUMBERS and column.kind not in {ColumnKind.INTEGER, ColumnKind.NUMBER}:
            raise ResultError(f"column {name} must be a number, not {column.type}")
    for key, name in (("condition", ACTIVE), ("resolve_condition", CLEAR)):
        if by_name[name].type.lower() not in {"boolean", "bool"}:
            raise ResultError(f"{key} must be true or false, but is of type {by_name[name].type}")
    _check_needed(rule, by_name)
    return by_name


def _check_needed(rule: Rule, columns: Mapping[str, Column]) -> None:
    needed = dict.fromkeys(rule.identity or (), "named by `identity`")
    if rule.kind == "record" or rule.condition is not None:
        needed[VALUE] = "needed unless an alert has no condition"
    if rule.min_samples:
        needed[SAMPLE_COUNT] = "needed for `min_samples`"
    if rule.min_label_coverage:
        needed[LABEL_COVERAGE] = "needed for `min_label_coverage`"
    for name, reason in needed.items():
        if name not in columns:
            given = ", ".join(other for other in columns if other not in {ACTIVE, CLEAR})
            raise ResultError(f"there is no column {name}, {reason}; the SQL gives {given}")
    for name in rule.identity or ():
        if name in _NUMBERS or columns[name].kind not in {ColumnKind.LABEL, ColumnKind.INTEGER}:
            raise ResultError(f"column {name} of type {columns[name].type} can be no part of `identity`")


def _is_label(rule: Rule, column: Column) -> bool:
    if column.name in {ACTIVE, CLEAR}:
        return False
    if column.name in (rule.identity or ()):
        return True
    return column.kind is ColumnKind.LABEL and column.name.lower() != REASON


def _refuse_duplicates(rows: Sequence[Row]) -> None:
    if len(rows) == 1:
        return
    counts = Counter(_order(row) for row in rows)
    double = next((row for row in rows if counts[_order(row)] > 1), None)
    if double is not None:
        shown = ", ".join(f"{name}={text!r}" for name, text in double.identity.items()) or "no labels"
        count = counts[_order(double)]
        meant = "" if REASON not in double.values else "; `reason` is none unless `identity` names it"
        raise ResultError(
            f"{count} rows have the same identity ({shown}); group the SQL by its label columns{meant}"
        )


def _order(row: Row) -> tuple[tuple[str, bool, str], ...]:
    return tuple((name, text is not None, text or "") for name, text in row.identity.items())


def _too_few(rule: Rule, sample_count: float | None) -> bool:
    return rule.min_samples > 0 and not (sample_count is not None and sample_count >= rule.min_samples)


def _too_early(rule: Rule, label_coverage: float | None) -> bool:
    least = rule.min_label_coverage
    return least > 0 and not (label_coverage is not None and label_coverage >= least)


@lru_cache(1024)
def _kind(type_text: str) -> ColumnKind:
    matching = (kind for kind, form in _KINDS.items() if re.fullmatch(form, type_text, re.IGNORECASE))
    return next(matching, ColumnKind.OTHER)


def _plain(item: Any) -> Any:
    """Turn a decimal into the number people expect in a text; sums of integers are decimals in Arrow."""
    if isinstance(item, Decimal):
        return int(item) if item == item.to_integral_value() else float(item)
    return item


def _shown(item: Any) -> Any:
    """Turn a list of texts into one text."""
    return ", ".join(map(str, item)) if isinstance(item, list) else item


def _text(item: Any) -> str | None:
    if item is None:
        return None
    return str(item).lower() if isinstance(item, bool) else str(item)


def _is_nan(item: Any) -> bool:
    return isinstance(item, float) and math.isnan(item)
