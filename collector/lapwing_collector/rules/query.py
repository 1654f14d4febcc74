"""Composes the SQL of a rule, and the parameters of one slot."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lapwing_collector.rules.rule import Rule
from lapwing_collector.rules.slots import window_of
from lapwing_collector.rules.sql import parameters_in, replace_parameters

ACTIVE: Final = "lapwing_active"
"""Column of the composed SQL: the row's `condition`."""

CLEAR: Final = "lapwing_clear"
"""Column of the composed SQL: the row's `resolve_condition`."""

_SHAPE: Final = "SELECT * FROM (\n"

PLACE: Final = "lapwing_place"
"""Column of the composed SQL for many slots: the place of a row's slot among them."""

_SLOTS: Final = "lapwing_slots"
"""What the slots are called in that SQL."""

ALL_KNOWN: Final = datetime(9999, 12, 31)  # noqa: DTZ001  # times are naive UTC throughout the collector
"""The `$as_of` that leaves nothing out."""


@dataclass(frozen=True, slots=True)
class Query:
    """SQL with its parameters.

    Attributes:
        sql: One SELECT.
        parameters: Naive UTC datetimes, and texts of labels, for the parameters that `sql` mentions, and for
            no others: DuckDB refuses to bind what a statement does not use.
    """

    sql: str
    parameters: Mapping[str, datetime | str | Sequence[datetime | int] | None]


def evaluation_query(rule: Rule, slot: datetime, as_of: datetime = ALL_KNOWN) -> Query:
    """Compose what gives the rule's rows at `slot`, with the columns `ACTIVE` and `CLEAR` beside them.

    Args:
        rule: Whose rows.
        slot: When.
        as_of: What was received up to then is known, for SQL that asks for it.
    """
    return _bound(evaluation_sql(rule), rule, slot, as_of)


def many_slots_query(rule: Rule, slots: Sequence[datetime], as_of: datetime = ALL_KNOWN) -> Query | None:
    """Compose what gives the rule's rows at many slots at once; None where its rows are the same at each.

    The column `PLACE` comes first: the place in `slots` that a row belongs to. All other columns are those of
    `evaluation_query`.
    """
    sql = evaluation_sql(rule)
    each = [_times(rule, slot, as_of) for slot in slots]
    mentioned = sorted(each[0].keys() & parameters_in(sql))
    if not mentioned:
        return None
    columns = [f"unnest(${PLACE}::BIGINT[]) AS {PLACE}"]
    columns += [f"unnest(${name}::TIMESTAMP[]) AS {name}" for name in mentioned]
    inner = replace_parameters(sql, {name: f"{_SLOTS}.{name}" for name in mentioned})
    return Query(
        f"SELECT {_SLOTS}.{PLACE}, lapwing_rows.*\nFROM (SELECT {', '.join(columns)}) AS {_SLOTS},\n"
        f"LATERAL (\n{inner}\n) AS lapwing_rows",
        {PLACE: list(range(len(slots))), **{name: [times[name] for times in each] for name in mentioned}},
    )


def wait_query(rule: Rule, slot: datetime, as_of: datetime = ALL_KNOWN) -> Query | None:
    """Give the SELECT whose one value tells that `slot` need not wait; None without `wait_for`."""
    return _bound(bare(rule.wait_for.expr), rule, slot, as_of) if rule.wait_for else None


def sample_query(
    rule: Rule, slot: datetime, labels: Mapping[str, str | None], as_of: datetime = ALL_KNOWN
) -> Query | None:
    """Give what selects the rows behind one alert; None without `sample`.

    Args:
        rule: Whose alert.
        slot: When it began to fire.
        labels: Its label columns, None for NULL.
        as_of: As for `evaluation_query`.
    """
    if rule.sample is None:
        return None
    query = _bound(f"{nested_sql(rule.sample.expr)}\nLIMIT {rule.sample.limit}", rule, slot, as_of)
    by_name = {name.lower(): text for name, text in labels.items()}
    mentioned = parameters_in(query.sql).difference(query.parameters)
    texts = {name: by_name[name.lower()] for name in mentioned if name.lower() in by_name}
    return Query(query.sql, {**query.parameters, **texts})


def evaluation_sql(rule: Rule) -> str:
    """Wrap the rule's `expr` so that its conditions are judged by SQL, row by row."""
    active = "true" if rule.condition is None else rule.condition
    clear = f"NOT (\n{active}\n)" if rule.resolve_condition is None else rule.resolve_condition
    return f"SELECT *, (\n{active}\n) AS {ACTIVE}, (\n{clear}\n) AS {CLEAR}\nFROM (\n{bare(rule.expr)}\n)"


def shape_query(rule: Rule, slot: datetime) -> Query:
    """Compose what tells the columns of the rule's rows at `slot` and reads none of them."""
    query = evaluation_query(rule, slot)
    return Query(f"{_SHAPE}{query.sql}\n) LIMIT 0", query.parameters)


def key_at(rule: Rule, position: int) -> tuple[str, int]:
    """Tell which key of a rule a character of `shape_query` is of, and which character of that key's text."""
    composed = f"{_SHAPE}{evaluation_sql(rule)}"
    keys = ("condition", "resolve_condition", "expr")
    for key, text in zip(keys, (rule.condition, rule.resolve_condition, bare(rule.expr)), strict=True):
        for found in re.finditer(re.escape(f"(\n{text}\n)"), composed):
            if found.start() < position < found.end():
                return key, position - found.start() - 2
    return "expr", 0


def nested_sql(expr: str) -> str:
    """Put `expr` where `evaluation_sql` puts it, to check that it can stand there."""
    return f"SELECT * FROM (\n{bare(expr)}\n)"


def condition_sql(condition: str) -> str:
    """Put a condition where it can be checked alone: if it is one expression, this is one SELECT."""
    return f"SELECT (\n{condition}\n)"


def bare(sql: str) -> str:
    """Drop the semicolons at the end, which have no place inside another statement."""
    return sql.rstrip("; \t\r\n")


def _bound(sql: str, rule: Rule, slot: datetime, as_of: datetime) -> Query:
    mentioned = parameters_in(sql)
    times = _times(rule, slot, as_of)
    return Query(sql, {name: time for name, time in times.items() if name in mentioned})


def _times(rule: Rule, slot: datetime, as_of: datetime) -> dict[str, datetime]:
    window = window_of(rule, slot)
    return {"window_start": window.start, "window_end": window.end, "slot": slot, "as_of": as_of}
