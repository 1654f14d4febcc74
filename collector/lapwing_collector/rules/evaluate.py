"""Evaluates one slot of one rule: the result of its SQL and what is remembered in, what has changed out.

`evaluate` is a pure function, so live runs, catch-up, tests and back-tests share it. Announcements are the
difference between an instance before and after, hence firing and resolved always alternate.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from lapwing_collector.model.alerts import (
    AlertState,
    Health,
    Instance,
    MetricRow,
    RuleId,
    RuleState,
    Status,
    Transition,
)
from lapwing_collector.rules.rows import LABEL_COVERAGE, ResultError, Row, Rows, read_rows
from lapwing_collector.rules.rule import Rule
from lapwing_collector.rules.slots import Window, window_of
from lapwing_collector.rules.states import Evidence, Moment, announced, resolve, step
from lapwing_collector.rules.template import humanize_duration
from lapwing_collector.rules.trouble import Said, Trouble, constant, trouble_fingerprint, troubled, waits_for

CONDITION: Final = "condition"
MISSING: Final = "missing"
NO_DATA: Final = "no_data"
RULE_CHANGED: Final = "rule_changed"
RULE_DELETED: Final = "rule_deleted"
RULE_DISABLED: Final = "rule_disabled"

_REMEMBERED: Final = 16_384
"""Identities of alerts, each of which is asked for at every slot."""


@dataclass(frozen=True, slots=True)
class QueryFailure:
    """The rule's SQL failed or ran over its time; `message` says how."""

    message: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """The slot is passed over: `wait_for` ran out and says `on_timeout: skip`."""


NO_ROWS: Final = Rows((), ())
"""The outcome where `wait_for` ran out and says `on_timeout: no_data`."""

Outcome = Rows | QueryFailure | Skipped


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one evaluation leads to; all of it is committed together.

    Attributes:
        state: What to remember.
        transitions: What people are told, in order.
        metrics: What a `record` rule stores.
    """

    state: RuleState
    transitions: tuple[Transition, ...] = ()
    metrics: tuple[MetricRow, ...] = ()


@dataclass(frozen=True, slots=True)
class _Check:
    """One evaluation's givens.

    Attributes:
        first_seen: Of alerts that a former definition of the rule knew, since when, by fingerprint.
        own: The alerts about the rule itself.
    """

    rule: Rule
    slot: datetime
    window: Window
    moment: Moment
    incomplete: bool
    first_seen: Mapping[str, datetime | None]
    own: Mapping[str, Instance]


@dataclass(frozen=True, slots=True)
class _Finding:
    """What an evaluation says of one instance, its texts and values already brought up to date.

    Attributes:
        moment: Where the instance waits for as long as itself says; None where as the rule says.
    """

    instance: Instance
    evidence: Evidence
    reason: str = CONDITION
    row: Row | None = None
    moment: Moment | None = None


def evaluate(
    rule: Rule, outcome: Outcome, state: RuleState, slot: datetime, *, incomplete: bool = False
) -> Evaluation:
    """Evaluate `rule` at `slot`.

    Args:
        rule: The rule.
        outcome: What became of its SQL.
        state: What is remembered of it; `RuleState(rule.definition)` for a new rule.
        slot: Naive UTC, later than `state.slot`.
        incomplete: `wait_for` ran out and the slot is evaluated all the same; the texts say so.

    Raises:
        ValueError: The slot is not later than the newest evaluated one.
    """
    if state.slot is not None and slot <= state.slot:
        raise ValueError(f"{rule.id}: slot {slot} is not later than {state.slot}, which is evaluated already")
    elapsed = slot - state.slot if state.slot else timedelta(0)
    before = rule.slots.before(slot)
    since = state.since or before
    moment = Moment(slot, elapsed, slot - before, rule.for_, rule.keep_firing_for)
    window = window_of(rule, slot)
    resolved: tuple[Transition, ...] = ()
    first_seen: dict[str, datetime | None] = {}
    if state.definition != rule.definition:
        first_seen = {key: instance.first_seen_at for key, instance in state.instances.items()}
        resolved = _resolve_all(rule.id, state, slot, window, RULE_CHANGED)
        state = RuleState(rule.definition)
    rows, own = _apart(rule.id, state)
    check = _Check(rule, slot, window, moment, incomplete, first_seen, own)
    evaluation = _judge(check, outcome, replace(state, since=since, instances=rows))
    return replace(evaluation, transitions=resolved + evaluation.transitions) if resolved else evaluation


def rule_deleted(rule: RuleId, state: RuleState) -> tuple[Transition, ...]:
    """Resolve what a rule that no longer exists had announced, as of its newest evaluated slot."""
    return _ended(rule, state, RULE_DELETED)


def rule_disabled(rule: RuleId, state: RuleState) -> tuple[Transition, ...]:
    """Resolve what a rule that was switched off had announced, as of its newest evaluated slot."""
    return _ended(rule, state, RULE_DISABLED)


def _ended(rule: RuleId, state: RuleState, reason: str) -> tuple[Transition, ...]:
    if state.slot is None:
        return ()
    return _resolve_all(rule, state, state.slot, Window(state.slot, state.slot), reason)


def fingerprint(rule: RuleId, identity: Mapping[str, str | None]) -> str:
    """Give the identity of an alert instance: the same for the same rule and labels, whatever the value."""
    return _fingerprint(rule.group, rule.name, tuple(sorted(identity.items())))


@lru_cache(_REMEMBERED)
def _fingerprint(group: str, name: str, identity: tuple[tuple[str, str | None], ...]) -> str:
    text = json.dumps([group, name, identity])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _apart(rule: RuleId, state: RuleState) -> tuple[Mapping[str, Instance], Mapping[str, Instance]]:
    """Tell the alerts of rows from those about the rule itself."""
    keys = [key for trouble in Trouble if (key := trouble_fingerprint(rule, trouble)) in state.instances]
    if not keys:
        return state.instances, {}
    own = {key: state.instances[key] for key in keys}
    return {key: instance for key, instance in state.instances.items() if key not in own}, own


def _judge(check: _Check, outcome: Outcome, state: RuleState) -> Evaluation:
    match outcome:
        case Skipped():
            return _skip(check, state)
        case QueryFailure(message):
            return _fail(check, state, message)
    try:
        rows = read_rows(check.rule, outcome) if outcome.tuples else []
    except ResultError as error:
        return _fail(check, state, str(error))
    if check.rule.kind == "record":
        return _record(check, state, rows)
    if not rows and check.rule.condition is not None:
        return _without_rows(check, state)
    return _with_rows(check, state, rows, truncated=outcome.truncated)


# What became of the SQL


def _skip(check: _Check, state: RuleState) -> Evaluation:
    findings = [_Finding(instance, Evidence.HOLD) for instance in state.instances.values()]
    no_data_since = _held(check, state.no_data_since, evidence=False)
    error_since = _held(check, state.error_since, evidence=False)
    after = replace(state, no_data_since=no_data_since, error_since=error_since)
    return _concluded(check, after, findings, _SILENT)


def _fail(check: _Check, state: RuleState, message: str) -> Evaluation:
    """Hold everything: a failed query says nothing about what it was to look at."""
    since = _held(check, state.error_since, evidence=True) or check.slot
    lasting = check.slot - since >= check.rule.error_for
    findings = [
        _Finding(replace(i, health=Health.ERROR) if lasting else i, Evidence.HOLD)
        for i in state.instances.values()
    ]
    no_data_since = _held(check, state.no_data_since, evidence=False)
    after = replace(state, health=Health.ERROR, error=message, error_since=since, no_data_since=no_data_since)
    text = f"{check.rule.id} fails since {since:%Y-%m-%d %H:%M:%S} UTC: {message}"
    return _concluded(check, after, findings, {**_SILENT, Trouble.ERROR: Said(Evidence.ACTIVE, text)})


def _without_rows(check: _Check, state: RuleState) -> Evaluation:
    since = _held(check, state.no_data_since, evidence=True) or check.slot
    lasting = check.slot - since >= check.rule.no_data_for
    alarming = lasting and check.rule.on_no_data in {"no_data", "alert"}
    known = list(state.instances.values())
    if alarming and not known:
        known = [_rule_instance(check.rule)]
    known = [replace(instance, health=Health.NO_DATA) for instance in known]
    if alarming:
        findings = [
            _Finding(i, Evidence.HOLD)
            if _is_new(check, i)
            else _Finding(_without_data(check, i, since), Evidence.ALARM)
            for i in known
        ]
    elif lasting and check.rule.on_no_data == "ok":
        findings = [_Finding(instance, Evidence.GONE, NO_DATA) for instance in known]
    else:
        findings = [_Finding(instance, Evidence.HOLD) for instance in known]
    after = replace(state, health=Health.NO_DATA, no_data_since=since, error=None, error_since=None)
    return _concluded(check, after, findings, _answered(check, 0))


def _with_rows(check: _Check, state: RuleState, rows: Sequence[Row], *, truncated: bool) -> Evaluation:
    by_fingerprint = {fingerprint(check.rule.id, row.identity): row for row in rows}
    absent = [i for key, i in state.instances.items() if key not in by_fingerprint]
    room = check.rule.limit - len(state.instances)
    new = [key for key in by_fingerprint if key not in state.instances]
    refused = set(new[max(room, 0) :])
    seen = [
        _seen(check, state.instances.get(key), key, row)
        for key, row in by_fingerprint.items()
        if key not in refused
    ]
    findings = seen + [_absent(check, instance, truncated=truncated) for instance in absent]
    inconclusive = bool(rows) and not any(row.conclusive for row in rows)
    health = Health.INSUFFICIENT if inconclusive else Health.OK
    after = replace(state, health=health, no_data_since=None, error=None, error_since=None)
    after = _over_limit(check, state, after, len(refused))
    return _concluded(check, after, findings, _answered(check, len(refused)))


def _record(check: _Check, state: RuleState, rows: Sequence[Row]) -> Evaluation:
    kept = rows[: check.rule.limit]
    since = None if rows else _held(check, state.no_data_since, evidence=True) or check.slot
    after = replace(
        state,
        health=Health.OK if rows else Health.NO_DATA,
        no_data_since=since,
        error=None,
        error_since=None,
    )
    refused = len(rows) - len(kept)
    evaluation = _concluded(check, _over_limit(check, state, after, refused), (), _answered(check, refused))
    return replace(evaluation, metrics=tuple(_metric(check, row) for row in kept))


def _over_limit(check: _Check, before: RuleState, after: RuleState, refused: int) -> RuleState:
    if not refused:
        return after
    return replace(
        after,
        health=Health.ERROR,
        error=_limit_text(check, refused),
        error_since=_held(check, before.error_since, evidence=True) or check.slot,
    )


def _limit_text(check: _Check, refused: int) -> str:
    return (
        f"the limit of {check.rule.limit} is reached: {refused} new label sets were not taken in; "
        "raise `limit` or return fewer rows"
    )


# What an evaluation says of the rule itself

_SILENT: Final[Mapping[Trouble, Said]] = dict.fromkeys(Trouble, Said(Evidence.HOLD))


def _answered(check: _Check, refused: int) -> Mapping[Trouble, Said]:
    """The query has an answer, which may have had to be cut."""
    rule = check.rule
    if not refused and not check.own:
        return _SILENT  # nothing is wrong, and nothing was
    limit = (
        Said(Evidence.ACTIVE, f"{rule.id}: {_limit_text(check, refused)}")
        if refused
        else Said(Evidence.CLEAR, f"{rule.id} is within its limit of {rule.limit}")
    )
    return {Trouble.ERROR: Said(Evidence.CLEAR, f"{rule.id} is evaluated again"), Trouble.LIMIT: limit}


def _own_findings(check: _Check, said: Mapping[Trouble, Said]) -> Iterator[_Finding]:
    if said is _SILENT and not check.own:
        return
    for trouble, what in said.items():
        known = check.own.get(trouble_fingerprint(check.rule.id, trouble))
        instance = troubled(check.rule, trouble, known, what, check.slot)
        if instance is not None:
            moment = replace(check.moment, for_=waits_for(check.rule, trouble), keep_firing_for=timedelta(0))
            yield _Finding(instance, what.evidence, moment=moment)


# What an evaluation says of one instance


def _seen(check: _Check, known: Instance | None, key: str, row: Row) -> _Finding:
    """Bring an instance up to date with its row."""
    rule = check.rule
    instance = known or Instance(key, {})
    # An alert keeps the labels it fired with, so that its resolve reaches whom its firing reached.
    labels = instance.labels if announced(instance) else _labels(rule, row.labels)
    updated = replace(
        instance,
        labels=labels,
        health=Health.OK if row.conclusive else Health.INSUFFICIENT,
        value=instance.value if row.value is None else row.value,
        sample_count=row.sample_count,
        last_seen_at=check.slot,
        missing_slots=0,
        first_seen_at=instance.first_seen_at if known else check.first_seen.get(key, check.slot),
    )
    if _is_new(check, updated):
        return _Finding(replace(updated, health=Health.INSUFFICIENT), Evidence.HOLD, row=row)
    return _Finding(updated, _evidence(rule, row), row=row)


def _is_new(check: _Check, instance: Instance) -> bool:
    """Tell whether an alert says nothing yet because its label set is young."""
    seen = instance.first_seen_at
    young = seen is not None and check.slot - seen < check.rule.new_group_delay
    return young and not announced(instance)


def _evidence(rule: Rule, row: Row) -> Evidence:
    if not row.conclusive:
        return Evidence.HOLD
    if rule.condition is None or row.active:
        return Evidence.ACTIVE
    return Evidence.CLEAR if row.clear else Evidence.HOLD


def _absent(check: _Check, instance: Instance, *, truncated: bool) -> _Finding:
    """Judge an instance without a row, while the result has others."""
    rule = check.rule
    if truncated:
        return _Finding(instance, Evidence.HOLD)
    stood_for_no_rows = instance.fingerprint == fingerprint(rule.id, {})
    if rule.condition is None or stood_for_no_rows:
        return _Finding(replace(instance, health=Health.OK), Evidence.CLEAR)
    missing = replace(instance, health=Health.MISSING, missing_slots=instance.missing_slots + 1)
    keeps = rule.on_missing == "keep" and instance.state is not AlertState.INACTIVE
    if keeps or missing.missing_slots < rule.missing_evals:
        return _Finding(missing, Evidence.HOLD)
    return _Finding(missing, Evidence.GONE, MISSING)


def _without_data(check: _Check, instance: Instance, since: datetime) -> Instance:
    """Word an instance that fires because rows stayed away; one that fires already keeps its labels."""
    marked = check.rule.on_no_data == "no_data" and not announced(instance)
    labels = {**instance.labels, "health": Health.NO_DATA.value} if marked else instance.labels
    texts = constant(check.rule.annotations)
    summary = f"no data: the query has returned no rows since {since:%Y-%m-%d %H:%M:%S} UTC"
    return replace(instance, labels=labels, annotations={**instance.annotations, **texts, "summary": summary})


# From findings to state and announcements


def _concluded(
    check: _Check, state: RuleState, findings: Iterable[_Finding], said: Mapping[Trouble, Said]
) -> Evaluation:
    instances: dict[str, Instance] = {}
    transitions: list[Transition] = []
    for finding in [*findings, *_own_findings(check, said)]:
        before = finding.instance
        after = _after(check, finding)
        if announced(before) != announced(after):
            transitions.append(_transition(check, finding, after))
        if not _forgotten(finding, after):
            instances[after.fingerprint] = after
    return Evaluation(replace(state, slot=check.slot, instances=instances), tuple(transitions))


def _after(check: _Check, finding: _Finding) -> Instance:
    before, row = finding.instance, finding.row
    after = step(before, finding.evidence, finding.moment or check.moment)
    if row is None:
        return after
    peak = after.peak
    if finding.evidence is Evidence.ACTIVE and row.value is not None:
        peak = _further(check.rule, peak, row.value)
    annotations = after.annotations
    if after.state is AlertState.INACTIVE and not announced(before):
        annotations = {}
    elif row.conclusive:
        annotations = _annotations(check, after, row)
    if peak == after.peak and annotations == after.annotations:
        return after
    return replace(after, peak=peak, annotations=annotations)


def _forgotten(finding: _Finding, after: Instance) -> bool:
    """Tell whether an instance has ended with its row, so that nothing need be remembered of it."""
    ended = finding.evidence in {Evidence.CLEAR, Evidence.GONE} and finding.row is None
    return ended and after.state is AlertState.INACTIVE


def _transition(check: _Check, finding: _Finding, after: Instance) -> Transition:
    status = Status.FIRING if announced(after) else Status.RESOLVED
    reason = finding.reason if status is Status.RESOLVED else ""
    return Transition(check.rule.id, status, reason, after, check.slot, check.window.start, check.window.end)


def _resolve_all(
    rule: RuleId, state: RuleState, slot: datetime, window: Window, reason: str
) -> tuple[Transition, ...]:
    return tuple(
        Transition(rule, Status.RESOLVED, reason, resolve(instance, slot), slot, window.start, window.end)
        for instance in state.instances.values()
        if announced(instance)
    )


# Texts and numbers


def _labels(rule: Rule, row_labels: Mapping[str, str]) -> dict[str, str]:
    static = {name: text.render({"labels": row_labels}) for name, text in rule.labels.items()}
    return {**static, **row_labels, "alertname": rule.id.name}


def _rule_instance(rule: Rule) -> Instance:
    """Stand in for the instances of a rule that never saw a row."""
    return Instance(fingerprint(rule.id, {}), {**constant(rule.labels), "alertname": rule.id.name})


def _annotations(check: _Check, instance: Instance, row: Row) -> dict[str, str]:
    context: dict[str, Any] = {
        "labels": instance.labels,
        "value": row.values.get("value"),
        "values": row.values,
        "sample_count": row.sample_count,
        "window_start": check.window.start,
        "window_end": check.window.end,
        "slot": check.slot,
    }
    texts = {name: text.render(context) for name, text in check.rule.annotations.items()}
    if check.incomplete and check.rule.wait_for:
        waited = humanize_duration(check.rule.wait_for.timeout)
        texts["wait_for"] = f"evaluated after waiting {waited} in vain: the data may be incomplete"
    return texts


def _metric(check: _Check, row: Row) -> MetricRow:
    static = {name: text.render({"labels": row.labels}) for name, text in check.rule.labels.items()}
    series = {**static, **row.labels}
    coverage = row.values.get(LABEL_COVERAGE)
    return MetricRow(
        metric=check.rule.id.name,
        model=check.rule.model or series.get("model"),
        series=series,
        window_start=check.window.start,
        window_end=check.window.end,
        value=row.value,
        sample_count=row.sample_count,
        label_coverage=None if coverage is None or math.isnan(coverage) else float(coverage),
    )


def _further(rule: Rule, peak: float | None, value: float) -> float:
    if peak is None:
        return value
    return min(peak, value) if rule.fires_below else max(peak, value)


def _held(check: _Check, since: datetime | None, *, evidence: bool) -> datetime | None:
    return None if since is None else check.moment.held(since, evidence=evidence)
