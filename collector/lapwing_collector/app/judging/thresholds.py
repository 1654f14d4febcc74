"""Where the lines are that rules watch: by metric and field, for charts that show the same."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from lapwing_collector import engine
from lapwing_collector.errors import QueryError
from lapwing_collector.query import Measured, measured_in
from lapwing_collector.rules import Rule, bounds_of


def threshold_reads(rules: Callable[[], Sequence[Rule]]) -> dict[str, Callable[[Mapping[str, str]], Any]]:
    """What HTTP clients may read of the lines of rules, by address.

    Args:
        rules: Those that are judged now.
    """
    return {"thresholds/{table:path}": lambda parts: thresholds(rules(), parts["table"])}


def thresholds(rules: Iterable[Rule], table: str) -> list[dict[str, Any]]:
    """The numbers that rules on a model compare a metric with, and what that is, for JSON.

    Args:
        rules: All rules.
        table: The name of the model's tables.
    """
    # Parsing is what takes time; a rule cannot be about a model whose name it does not have.
    named = [rule for rule in rules if rule.enabled and table.lower() in rule.expr.lower()]
    recorded: dict[str, list[Rule]] = {}
    for rule in named:
        if rule.kind == "record" and (measured := _measured(rule.expr)) is not None:
            recorded.setdefault(measured.same, []).append(rule)
    found = []
    for rule in named:
        bounds = bounds_of(rule.condition) if rule.kind == "alert" else ()
        measured = _measured(rule.expr) if bounds else None
        if measured is None:
            continue
        call = measured.call
        if call is not None and table.lower() not in {model.lower() for model in call.models}:
            call = None
        also = [each.id.name for each in recorded.get(measured.same, ()) if each.window == rule.window]
        if call is None and not also:
            continue
        found.append(
            {
                "rule": str(rule.id),
                "name": rule.id.name,
                "bounds": [
                    {"column": each.column, "sign": each.sign, "number": each.number} for each in bounds
                ],
                "window_s": None if rule.window is None else rule.window.total_seconds(),
                "metric": None if call is None else call.metric.name,
                "fields": [] if call is None else _fields(call.texts, call.fields),
                "only": {name: sorted(texts) for name, texts in measured.only.items()} if call else {},
                "recorded_as": also,
            }
        )
    return found


def _fields(texts: Mapping[str, str], fields: Sequence[str]) -> list[str]:
    """The fields, or patterns of fields, that a metric goes over; all if there is none."""
    return [*fields, *(texts[name] for name in ("fields", "field") if name in texts)]


@lru_cache(4096)
def _measured(sql: str) -> Measured | None:
    with engine.parser() as parser:
        try:
            return measured_in(parser, sql)
        except QueryError:
            return None
