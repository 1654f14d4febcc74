"""What there is to say of the metrics that queries can call, and of the rules that call them."""

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lapwing_collector import engine
from lapwing_collector.app.answers.asking import Asking
from lapwing_collector.app.answers.models import models_in
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.places.project import (
    read_rules_and_groups,
    rule_files,
    rule_named,
    rules_for,
    text_of,
)
from lapwing_collector.config import load_settings, settings_file
from lapwing_collector.errors import ConfigError, UnknownMetricError, UnknownRuleError
from lapwing_collector.model.alerts import RuleId, RuleState
from lapwing_collector.query import METRICS, Metric, explain, metrics_in, script
from lapwing_collector.rules import Rule, evaluation_sql, excerpt_of


def list_metrics() -> list[dict[str, Any]]:
    """Name, group, summary and call of each metric, by group and name."""
    metrics = sorted(METRICS.values(), key=lambda metric: (metric.group, metric.name))
    return [
        {"name": each.name, "group": each.group, "summary": each.summary, "call": each.call}
        for each in metrics
    ]


def describe_metric(name: str) -> dict[str, Any]:
    """Everything about one metric, its SQL with what that is made of included.

    Raises:
        UnknownMetricError: There is no such metric.
    """
    metric = _metric(name)
    return {
        "name": metric.name,
        "group": metric.group,
        "summary": metric.summary,
        "formula": metric.formula,
        "source": metric.source,
        "needs": list(metric.needs),
        "parameters": [
            {"name": each.name, "default": each.default, "meaning": each.meaning or None}
            for each in metric.parameters
        ],
        "call": metric.call,
        "example": metric.example,
        "sql": script(explain([metric], {})) + "\n",
    }


def explain_rule(file: Path | None, flags: Mapping[str, Any], name: str) -> str:
    """The SQL that a rule is judged by, and what is behind the metrics that it calls.

    Of a group that stands for one per model, the rule is the one for the first model that there is, or for
    one that there may be, unless its name says for which.

    Args:
        file: The settings file; `lapwing.yaml` of this folder if None.
        flags: Settings given on the command line.
        name: The rule, as `group/name`, or its name alone where that says which.

    Raises:
        ConfigError: There is no such rule, or a file has mistakes.
    """
    file = settings_file(file)
    settings = load_settings(file, flags=flags)
    rules, groups = read_rules_and_groups(rule_files(file, settings))
    models: Mapping[str, str] = {}
    if groups and DataDirectory(settings.data).catalog.exists():
        with Asking.over(file, flags) as asking:
            models = models_in(asking.run)
    made = rules_for(models, groups, rules)
    for group in groups:
        if not any(fnmatchcase(model, group.pattern) for model in models):
            made += rules_for({group.example: group.example}, [group], rules)
    return explained(_meant([*rules, *made], name))


def explained(rule: Rule) -> str:
    """The SQL that a rule is judged by, and what is behind the metrics that it calls."""
    sql = evaluation_sql(rule)
    with engine.parser() as parser:
        behind = explain(metrics_in(parser, sql), {})
    return f"-- rule {rule.id}\n{sql};\n" + (f"\n{script(behind)}\n" if behind else "")


def rule_reads(
    rules: Callable[[], Sequence[Rule]],
    states: Callable[[], Mapping[RuleId, RuleState]],
    files: Callable[[], Sequence[Path]] = tuple,
) -> dict[str, Callable[[Mapping[str, str]], Any]]:
    """What HTTP clients may read of rules, by address.

    Args:
        rules: Those that are judged now.
        states: What is remembered of each.
        files: Those that rules stand in.
    """

    def listed(_: Mapping[str, str]) -> list[dict[str, Any]]:
        known = states()
        return [_rule(rule, known.get(rule.id)) for rule in rules()]

    def one(parts: Mapping[str, str]) -> dict[str, Any]:
        try:
            rule = _meant(rules(), parts["rule"])
        except ConfigError as error:
            raise UnknownRuleError(str(error)) from error
        state = states().get(rule.id)
        return _rule(rule, state) | {
            "sql": rule.expr,
            "explained": explained(rule),
            "file": _in_files(files(), rule.id),
        }

    return {"rules": listed, "rules/{rule:path}": one}


def _meant(rules: Sequence[Rule], name: str) -> Rule:
    """The rule of a name; one of a group for models is found without the model in its name, too."""
    alike = [rule for rule in rules if name == f"{rule.id.group.partition('[')[0]}/{rule.id.name}"]
    same = [rule for rule in rules if name in {str(rule.id), rule.id.name}]
    if len(same) != 1 and alike:
        return alike[0]
    groups = {rule.id.group.partition("[")[0] for rule in same}
    return same[0] if len(groups) == 1 else rule_named(rules, name)


def _in_files(files: Sequence[Path], rule: RuleId) -> dict[str, Any] | None:
    """The file that a rule stands in, the line, and how it is written there now; None if it is in none."""
    for file in files:
        with suppress(ConfigError):  # it was well when it was read
            found = excerpt_of(text_of(file), str(file), rule)
            if found is not None:
                return {"name": str(file), "line": found[0], "text": found[1]}
    return None


def _rule(rule: Rule, state: RuleState | None) -> dict[str, Any]:
    error = None if state is None else state.error
    slot = None if state is None else state.slot
    known = list(state.instances.values()) if state else []
    values = [each.value for each in known if each.value is not None]
    label = rule.labels.get("model")
    return {
        "rule": str(rule.id),
        "group": rule.id.group,
        "name": rule.id.name,
        "model": rule.model or (label.source if label and not label.variables else None),
        "kind": rule.kind,
        "enabled": rule.enabled,
        "condition": rule.condition,
        "for_s": rule.for_.total_seconds(),
        "window_s": rule.window.total_seconds() if rule.window else None,
        "labels": {name: text.source for name, text in rule.labels.items()},
        "health": None if state is None else str(state.health),
        "error": error,
        "slot": None if slot is None else f"{slot.isoformat()}Z",
        "next": None if slot is None else f"{rule.slots.after(slot).isoformat()}Z",
        "value": (min if rule.fires_below else max)(values, default=None),
        "alerts": dict(Counter(str(each.state) for each in known)),
    }


def _metric(name: str) -> Metric:
    metric = METRICS.get(name.lower())
    if metric is None:
        near = difflib.get_close_matches(name.lower(), METRICS, n=3)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UnknownMetricError(
            f"there is no metric {name!r}; `lapwing metrics` lists those there are{meant}"
        )
    return metric
