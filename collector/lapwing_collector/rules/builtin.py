"""The rules that come with Lapwing: written, checked and evaluated as those of anybody else."""

from collections.abc import Collection, Iterable
from importlib.resources import files
from typing import Final

from lapwing_collector.model.alerts import RuleId
from lapwing_collector.rules.file import ModelGroup, load_rule_file
from lapwing_collector.rules.rule import Rule

WATCHDOG: Final = "Watchdog"
"""Fires all the time: that its messages stop says that rules are not evaluated, or people are not reached."""

INGEST_STALLED: Final = "IngestStalled"
"""Fires for a model of which nothing has come for longer than is usual for it."""

_FILE: Final = "builtin.yaml"


def builtin_rules(
    wanted: Collection[str], rules: Iterable[Rule], groups: Iterable[ModelGroup]
) -> tuple[tuple[Rule, ...], tuple[ModelGroup, ...]]:
    """Give those of `wanted` in whose place people did not put a group of their own.

    Args:
        wanted: Names of alerts.
        rules: People's own.
        groups: Their groups that stand for one per model.
    """
    text = (files(__package__) / _FILE).read_text(encoding="utf-8")
    file = load_rule_file(text, _FILE)
    taken = {rule.id.group for rule in rules} | {group.name for group in groups}
    return (
        tuple(rule for rule in file.rules if rule.id.name in wanted and rule.id.group not in taken),
        tuple(group for group in file.model_groups if wanted_of(group, wanted) and group.name not in taken),
    )


def is_builtin(rule: RuleId) -> bool:
    """Tell whether a rule comes with Lapwing."""
    return (rule.name, rule.group.partition("[")[0]) in {
        (WATCHDOG, "lapwing"),
        (INGEST_STALLED, "lapwing-ingest"),
    }


def wanted_of(group: ModelGroup, wanted: Collection[str]) -> bool:
    """Tell whether all rules of a group are wanted."""
    return all(rule.id.name in wanted for rule in group.rules_of("m", "m"))
