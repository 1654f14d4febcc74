"""A rule that judges a whole span once: what an evaluation makes of it, instead of slot after slot."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from lapwing_collector.engine import identifier, literal
from lapwing_collector.model.slots import Every
from lapwing_collector.rules.query import bare
from lapwing_collector.rules.rows import Row
from lapwing_collector.rules.rule import Rule
from lapwing_collector.rules.sql import names_in

SIDES: Final = ("reference", "production", "dummy")
"""What values are compared with: the condition `value < 0.9 * production_value` names one of them."""

_VERSION: Final = "version"
"""A label that tells both sides apart, and no rows that are compared."""


def side_column(side: str) -> str:
    """What the value of a side is called beside that of the candidate."""
    return f"{side}_value"


def sides_in(rule: Rule) -> frozenset[str]:
    """The sides that a rule's conditions name."""
    named = names_in("\n".join([rule.condition or "", *rule.gate]))
    return frozenset(side for side in SIDES if side_column(side) in named)


def once(rule: Rule, since: datetime, until: datetime, sides: Mapping[str, Iterable[Row]]) -> Rule:
    """The rule as it judges one span, at the slot `until`, by what there is.

    Waiting means nothing there: `for`, `keep_firing_for`, `wait_for` and the like. Its `gate` counts as its
    condition does.

    Args:
        rule: As its file has it.
        since: Where the span begins.
        until: Where it ends, exclusive; later than `since`.
        sides: What the rule's SQL gave for other rows, by side. Those that its conditions name and that are
            not here have no value.
    """
    beside: dict[str, Sequence[Row]] = dict.fromkeys(sides_in(rule), ())
    beside |= {side: tuple(rows) for side, rows in sides.items()}
    window = until - since
    return replace(
        rule,
        expr=_beside(rule.expr, beside) if beside else rule.expr,
        condition=_any_of(rule) if rule.gate else rule.condition,
        resolve_condition=None,
        slots=Every(window),
        window=window,
        query_offset=timedelta(0),
        for_=timedelta(0),
        keep_firing_for=timedelta(0),
        new_group_delay=timedelta(0),
        wait_for=None,
        gate=(),
        enabled=True,
    )


def conditions(rule: Rule) -> tuple[str, ...]:
    """What an evaluation judges a rule by, one by one; none where every row is bad."""
    own = () if rule.condition is None or _only_gates(rule) else (rule.condition,)
    return (*own, *rule.gate)


def _only_gates(rule: Rule) -> bool:
    return bool(rule.gate) and not rule.enabled


def _any_of(rule: Rule) -> str:
    return " OR ".join(f"(\n{condition}\n)" for condition in conditions(rule))


def _beside(expr: str, sides: Mapping[str, Sequence[Row]]) -> str:
    """The rows of `expr`, with the values of the same labels of other sides beside them.

    Where a side has several versions, the one with the most rows stands for it.
    """
    columns, joins = [], []
    for side, rows in sides.items():
        found = _of_any_version(rows)
        column = identifier(side_column(side))
        if not found:
            columns.append(f"NULL::DOUBLE AS {column}")
            continue
        alias = identifier(f"lapwing_{side}")
        names = [name for name, _ in next(iter(found))]
        keys = [f"k{at}" for at in range(len(names))]
        tuples = ", ".join(
            f"({', '.join([*(_text(text) for _, text in key), _number(value)])})"
            for key, value in found.items()
        )
        condition = " AND ".join(
            f"each_row.{identifier(name)}::VARCHAR IS NOT DISTINCT FROM {alias}.{key}"
            for name, key in zip(names, keys, strict=True)
        )
        columns.append(f"{alias}.value AS {column}")
        joins.append(
            f"LEFT JOIN (VALUES {tuples}) AS {alias}({', '.join([*keys, 'value'])}) ON {condition or 'true'}"
        )
    parts = [f"SELECT each_row.*, {', '.join(columns)}", f"FROM (\n{bare(expr)}\n) AS each_row", *joins]
    return "\n".join(parts)


def _of_any_version(rows: Sequence[Row]) -> dict[tuple[tuple[str, str | None], ...], float | None]:
    found: dict[tuple[tuple[str, str | None], ...], float | None] = {}
    for row in sorted(rows, key=lambda row: row.sample_count or 0):  # the last one holds
        found[tuple((name, text) for name, text in row.identity.items() if name != _VERSION)] = row.value
    return found


def _text(text: str | None) -> str:
    return "NULL::VARCHAR" if text is None else f"{literal(text)}::VARCHAR"


def _number(value: float | None) -> str:
    return "NULL::DOUBLE" if value is None else f"'{value!r}'::DOUBLE"
