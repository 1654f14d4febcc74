"""A rule as the rest of the collector sees it: read, checked, with every default filled in."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from lapwing_collector.model.alerts import RuleId
from lapwing_collector.model.slots import Slots
from lapwing_collector.rules.template import Template

OnTimeout = Literal["evaluate", "skip", "no_data"]
OnNoData = Literal["ok", "keep", "no_data", "alert"]
OnMissing = Literal["resolve", "keep"]
OnError = Literal["keep"]
Criticality = Literal["fail", "warn"]
CatchUp = Literal["all", "latest", "none"]


@dataclass(frozen=True, slots=True)
class WaitFor:
    """What a due slot waits for before it is evaluated.

    Attributes:
        expr: One SELECT of one value; the slot goes ahead once it is TRUE.
        timeout: The slot goes ahead anyway this long after its time.
        on_timeout: What happens then.
    """

    expr: str
    timeout: timedelta
    on_timeout: OnTimeout


@dataclass(frozen=True, slots=True)
class Sample:
    """Which rows are shown of an alert that begins to fire.

    Attributes:
        expr: One SELECT; `$name` in it is the alert's label column of that name.
        limit: At most so many rows.
        redact: Columns, and fields inside of columns, whose values are not shown.
        attach: Whether they come as a file, too, to targets that take files.
    """

    expr: str
    limit: int
    redact: frozenset[str]
    attach: bool = True


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `docs/rules.md` explains each key.

    Attributes:
        id: Its group and name.
        kind: `alert` raises alerts, `record` stores each row's value in `metric_values` under its name.
        condition: None where every row is an active alert and an absent row is a clear one.
        resolve_condition: None stands for `NOT (condition)`.
        slots: When it is evaluated.
        window: Length of what a slot judges; None for the time since the slot before.
        identity: The columns that tell alerts apart; None stands for all label columns.
        catch_up: Which of the slots that were missed are evaluated late.
        max_catch_up: How late they may be; None for any time.
        for_: How long the condition must hold before the alert fires.
        new_group_delay: How long an alert that was never seen before says nothing.
        check_late: Slots that late rows touch are looked at again for so long.
        criticality: Whether the rule lets a gate fail, or merely warns.
        sample: None where an alert shows no rows.
        model: The model whose metric a `record` rule stores; None where the row's label `model` tells.
        labels: Static labels of group and rule; `labels` in them are the row's label columns.
        annotations: Texts for people.
        definition: Hash of what decides the rule's meaning; another one resolves the old alerts.
        fires_below: The condition holds for small values, so the peak is the smallest one.
        segments: Fields whose values messages tell apart; None where the model's description says which.
        gate: Conditions that count in evaluations only; they may name `reference_value` and the like.
    """

    id: RuleId
    kind: Literal["alert", "record"]
    expr: str
    condition: str | None
    resolve_condition: str | None
    identity: tuple[str, ...] | None
    slots: Slots
    window: timedelta | None
    query_offset: timedelta
    catch_up: CatchUp
    max_catch_up: timedelta | None
    for_: timedelta
    keep_firing_for: timedelta
    min_samples: int
    min_label_coverage: float
    wait_for: WaitFor | None
    on_no_data: OnNoData
    no_data_for: timedelta
    on_missing: OnMissing
    missing_evals: int
    on_error: OnError
    error_for: timedelta
    limit: int
    timeout: timedelta
    new_group_delay: timedelta
    check_late: timedelta
    criticality: Criticality
    sample: Sample | None
    enabled: bool
    model: str | None
    labels: Mapping[str, Template]
    annotations: Mapping[str, Template]
    definition: str
    fires_below: bool
    segments: tuple[str, ...] | None
    gate: tuple[str, ...] = ()
