"""`lapwing evaluate`: the same rules and metrics on a candidate, before it is released."""

import time as timer
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import lapwing
from lapwing_collector import engine
from lapwing_collector.app.gate import gate_lake
from lapwing_collector.app.gate.candidates import (
    Prepared,
    Wanted,
    champion_of,
    kept_rows,
    looked_up,
    named_reference,
    prepare,
    side_of,
    source_of,
)
from lapwing_collector.app.gate.contents import looks_of
from lapwing_collector.app.gate.dummies import dummy_of
from lapwing_collector.app.gate.gate_lake import Seen
from lapwing_collector.app.gate.keeping_runs import keep_run
from lapwing_collector.app.gate.mounting import Mount, mounted, same_rows
from lapwing_collector.app.gate.tabled import Brought
from lapwing_collector.app.judging.evaluating import outcome_of
from lapwing_collector.app.places.project import models_for, read_rules_and_groups, rules_for, sources_of
from lapwing_collector.app.upkeep.keeping import user
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.engine import literal
from lapwing_collector.errors import ConfigError, QueryError
from lapwing_collector.gate import (
    Check,
    Comparison,
    Evaluation,
    Outcome,
    Section,
    Side,
    paired_metrics,
    verdict_of,
)
from lapwing_collector.model.alerts import AlertState, RuleState
from lapwing_collector.model.description import ModelDescription
from lapwing_collector.query import paired_in
from lapwing_collector.rules import (
    ALL_KNOWN,
    SIDES,
    QueryFailure,
    ResultError,
    Row,
    Rows,
    Rule,
    conditions,
    fingerprint,
    once,
    read_rows,
    side_column,
    sides_in,
)
from lapwing_collector.rules import (
    evaluate as evaluate_rule,
)

CANDIDATE: Final = "candidate"
REFERENCE, PRODUCTION, DUMMY = SIDES

_S: Final = 600.0


@dataclass(slots=True)
class _Sides:
    """What the candidate is compared with, each asked by itself."""

    mounts: dict[str, Mount] = field(default_factory=dict)
    told: list[Side] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def evaluate(file: Path | None, wanted: Wanted) -> Evaluation:
    """Judge a candidate by rules.

    Args:
        file: The settings file, if any.
        wanted: What is to be evaluated.

    Raises:
        LapwingError: It cannot be: a file is wrong, no rule is about the model, there is no such reference.
    """
    began = timer.perf_counter()
    at = utc_datetime(SystemClock().now_ns())
    settings, models = models_for(file)
    declared = models.get(wanted.model, ModelDescription())
    with ExitStack() as parts:
        found = looked_up(settings, wanted, parts)
        rules = _rules(wanted, found)
        ready = prepare(declared, wanted, found, at, _texts(rules))
        mount = parts.enter_context(mounted(ready.subject, ready.candidate, ready.references))
        champion = _champion(wanted, ready)
        sides = _sides(wanted, ready, mount, champion, rules, parts)
        pairs, why_not = _pairs(wanted, ready, champion, parts)
        checks = [
            check
            for rule, is_paired in _marked(rules)
            for check in _checks(rule, (pairs if is_paired else mount), sides, is_paired, why_not)
        ]
        compared = () if pairs is None else _telling(tuple(_comparisons(ready, pairs)))
        looks = _looks(wanted, ready, mount, sides) if wanted.shown or wanted.kept else []
    if not any(check.kind == "alert" for check in checks):
        raise ConfigError(f"no rule of these files judges {wanted.model}: only metrics are recorded")
    versions = ready.candidate.versions
    run = Evaluation(
        id=str(uuid.uuid4()),
        model=wanted.model,
        version=versions[0] if len(versions) == 1 else wanted.version,
        verdict=verdict_of(checks, allow_insufficient=wanted.allow_insufficient),
        started_at=at,
        seconds=round(timer.perf_counter() - began, 3),
        by=user(),
        rules=[str(each) for each in wanted.rules],
        allow_insufficient=wanted.allow_insufficient,
        sides=[side_of(CANDIDATE, source_of(wanted.data), ready.candidate), *sides.told],
        checks=checks,
        comparisons=compared,
        sections=looks,
        notes=[*ready.notes, *([why_not] if wanted.against is not None and why_not else [])],
        lapwing=lapwing.__version__,
    )
    if wanted.kept:
        keep_run(settings, wanted.lake, wanted.token, run.as_json())
    return run


def _looks(wanted: Wanted, ready: Prepared, mount: Mount, sides: _Sides) -> Sequence[Section]:
    shown = {CANDIDATE: mount, **{name: each for name, each in sides.mounts.items() if name != DUMMY}}
    reference = named_reference(wanted.reference)
    return looks_of(ready.told, ready.subject.table, shown, reference=reference).sections


# The rules


def _rules(wanted: Wanted, found: Seen | None) -> list[Rule]:
    """The rules of the files that are about the model, and are to be judged.

    Raises:
        ConfigError: There are none.
    """
    rules, groups = read_rules_and_groups(list(wanted.rules))
    table = found.table if found is not None else wanted.model
    every = [*rules, *rules_for({wanted.model: table}, groups, rules)]
    about = sources_of(every)
    its = [
        rule
        for rule in every
        if (rule.enabled or rule.gate)
        and (table.lower() in about[rule.id] or (not about[rule.id] and _model_of(rule) == wanted.model))
    ]
    if not its:
        names = ", ".join(sorted({name for each in about.values() for name in each})) or "no model"
        raise ConfigError(f"no rule of these files is about {wanted.model}; they are about {names}")
    return _chosen(its, wanted)


def _chosen(rules: Sequence[Rule], wanted: Wanted) -> list[Rule]:
    known = {name for rule in rules for name in (str(rule.id), rule.id.name)}
    unknown = next((name for name in (*wanted.only, *wanted.skip) if name not in known), None)
    if unknown is not None:
        raise ConfigError(
            f"no rule about {wanted.model} is called {unknown}; there is {', '.join(sorted(known))}"
        )
    only, skip = set(wanted.only), set(wanted.skip)
    return [
        rule
        for rule in rules
        if (not only or {str(rule.id), rule.id.name} & only) and not {str(rule.id), rule.id.name} & skip
    ]


def _model_of(rule: Rule) -> str | None:
    label = rule.labels.get("model")
    if rule.model is not None or label is None or label.variables:
        return rule.model
    return label.render({})


def _texts(rules: Iterable[Rule]) -> str:
    return "\n".join(rule.expr for rule in rules)


def _marked(rules: Iterable[Rule]) -> list[tuple[Rule, bool]]:
    """The rules, and whether each looks at pairs of predictions."""
    with engine.parser() as parser:
        return [(rule, bool(paired_in(parser, rule.expr))) for rule in rules]


# What the candidate is compared with


def _champion(wanted: Wanted, ready: Prepared) -> Brought | None:
    """The rows of what stands for production; None where nothing does, or none of its rows are needed."""
    if wanted.against is None or (_in_production(wanted) and not ready.candidate.named):
        return None
    return champion_of(wanted, ready)


def _in_production(wanted: Wanted) -> bool:
    """Whether production itself, in the lake, is what the candidate is compared with."""
    where = gate_lake.place(wanted.against) if isinstance(wanted.against, str) else None
    return where is not None and where[0] == PRODUCTION


def _sides(  # noqa: PLR0917  # the candidate and all that is beside it
    wanted: Wanted,
    ready: Prepared,
    mount: Mount,
    champion: Brought | None,
    rules: Sequence[Rule],
    parts: ExitStack,
) -> _Sides:
    sides = _Sides()
    kept = kept_rows(ready.references, ready.means)
    if kept is None:
        sides.missing[REFERENCE] = "there is no reference whose rows are kept: name one with --reference"
    else:
        name, rows = kept
        sides.mounts[REFERENCE] = parts.enter_context(mounted(ready.subject, rows, ready.references))
        sides.told.append(side_of(REFERENCE, name, rows))
    if wanted.against is None:
        sides.missing[PRODUCTION] = "nothing says what stands for production: name it with --against"
    else:
        sides.mounts[PRODUCTION], told = _production(wanted, ready, champion, parts)
        sides.told.append(told)
    if any(DUMMY in sides_in(rule) for rule in rules):
        try:
            rows = dummy_of(
                ready.candidate,
                ready.told,
                ready.subject.table,
                _truths(ready, sides.mounts.get(REFERENCE), mount),
            )
        except ConfigError as error:
            sides.missing[DUMMY] = str(error)
        else:
            sides.mounts[DUMMY] = parts.enter_context(mounted(ready.subject, rows, ready.references))
            sides.told.append(side_of(DUMMY, "a model that looks at nothing", rows))
    return sides


def _truths(ready: Prepared, reference: Mount | None, mount: Mount) -> Mount:
    """Whose truths a dummy model learns from: the reference's, where it has some."""
    if reference is None:
        return mount
    has = any(
        each.rows is not None and any(name.partition(".")[0] == "label" for name in each.rows.column_names)
        for each in ready.references
    )
    return reference if has else mount


def _production(
    wanted: Wanted, ready: Prepared, champion: Brought | None, parts: ExitStack
) -> tuple[Mount, Side]:
    """What `production_value` is asked of: the lake itself, or rows that were brought."""
    assert wanted.against is not None  # noqa: S101  # the caller's choice
    where = gate_lake.place(wanted.against) if isinstance(wanted.against, str) else None
    if where is not None and _in_production(wanted):
        found = gate_lake.known_model(ready.found, wanted.model)
        since, until = gate_lake.span_of(found, *where)
        mount = Mount(lambda sql, parameters, _: found.ask(sql, parameters), since, until)
        if champion is not None:
            return mount, side_of(PRODUCTION, str(wanted.against), champion)
        return mount, Side(PRODUCTION, str(wanted.against), since=since, until=until)
    assert champion is not None  # noqa: S101  # whose rows are needed
    mount = parts.enter_context(mounted(ready.subject, champion, ready.references))
    return mount, side_of(PRODUCTION, source_of(wanted.against), champion)


def _pairs(
    wanted: Wanted, ready: Prepared, champion: Brought | None, parts: ExitStack
) -> tuple[Mount | None, str]:
    """The candidate beside production, where both answered the same requests; and what to say, as why not."""
    if wanted.against is None:
        return None, "pairs need another model's predictions for the same rows: name them with --against"
    source = source_of(wanted.against)
    # Files of two models that name no rows are often the same rows, in their order.
    in_order = champion is not None and not champion.named and not ready.candidate.named
    if not in_order and not ready.candidate.named:
        return None, "not compared row by row: the candidate's rows have no prediction_id and no request_id"
    if champion is None or (not in_order and not champion.named):
        return None, f"not compared row by row: the rows of {source} have no prediction_id and no request_id"
    if in_order and not same_rows(ready.candidate, champion):
        return None, (
            f"not compared row by row: neither side names its rows, and those of {source} are not the "
            "candidate's in the same order, as far as inputs and labels that both have tell"
        )
    told = f"neither side names its rows: compared with those of {source} in their order" if in_order else ""
    pairs = parts.enter_context(mounted(ready.subject, ready.candidate, ready.references, champion))
    pairs.since, pairs.until = champion.since, champion.until
    sql = (
        f"SELECT pairs FROM shadow_pairs({literal(ready.subject.table)}, $since, $until, "
        "challenger_stage := 'candidate')"
    )
    counted = pairs.ask(sql, {"since": pairs.since, "until": pairs.until}, _S).column(0).to_pylist()
    if not any(counted):
        return (
            None,
            f"not compared row by row: no row of {source} has an id of the candidate's",
        )
    return pairs, told


def _telling(comparisons: tuple[Comparison, ...]) -> tuple[Comparison, ...]:
    """Those that say something: of a side without scores, say, nothing is compared by scores."""
    return tuple(each for each in comparisons if each.problem or each.sample_count) or comparisons


def _comparisons(ready: Prepared, pairs: Mount) -> Iterator[Comparison]:
    for each in paired_metrics(ready.told):
        span = {"window_start": pairs.since, "window_end": pairs.until}
        try:
            rows = pairs.ask(each.sql(literal(ready.subject.table)), span, _S).to_pylist()
        except QueryError as error:
            yield each.without(str(error))
            continue
        yield each.compared(rows[0]) if rows else each.without("there is no pair")


# Judging


def _checks(  # a rule and all that it is judged by
    rule: Rule, mount: Mount | None, sides: _Sides, is_paired: bool, why_not: str
) -> Iterator[Check]:
    """What becomes of a rule: a check for each row of its result, or one that says why there is none."""
    plain = Check(
        rule=str(rule.id),
        kind=rule.kind,
        criticality=rule.criticality,
        outcome=Outcome.NO_DATA,
        conditions=conditions(rule),
    )
    if mount is None:
        yield _because(plain, Outcome.INSUFFICIENT, why_not)
        return
    values: Mapping[str, list[Row]] = (
        {} if is_paired else {side: _rows_of(rule, each) for side, each in sides.mounts.items()}
    )
    judged = once(rule, mount.since, mount.until, values)
    outcome = outcome_of(mount.ask, judged, mount.until, ALL_KNOWN)
    if isinstance(outcome, QueryFailure):
        yield _because(plain, Outcome.ERROR, outcome.message)
        return
    if not isinstance(outcome, Rows) or not outcome.tuples:
        yield _because(plain, Outcome.NO_DATA, mount.not_seen or "its query returned no rows")
        return
    try:
        rows = read_rows(judged, outcome)
    except ResultError as error:
        yield _because(plain, Outcome.ERROR, str(error))
        return
    state = evaluate_rule(judged, outcome, RuleState(judged.definition), mount.until).state
    for row in rows:
        instance = state.instances.get(fingerprint(judged.id, row.identity))
        fires = instance is not None and instance.state in {AlertState.FIRING, AlertState.RECOVERING}
        text = (instance.annotations.get("summary", "") if instance is not None else "") if fires else ""
        yield _judged(plain, rule, row, sides, fires=fires, text=text)
    if state.error is not None:
        yield _because(plain, Outcome.ERROR, state.error)


def _judged(plain: Check, rule: Rule, row: Row, sides: _Sides, *, fires: bool, text: str) -> Check:
    if rule.kind == "record":
        outcome = Outcome.RECORDED
    elif fires:
        outcome = Outcome.FAILED
    else:
        outcome = Outcome.PASSED if row.conclusive else Outcome.INSUFFICIENT
        text = "" if row.conclusive else _why_inconclusive(rule, row, sides)
    beside = {side: row.values.get(side_column(side)) for side in SIDES if side_column(side) in row.values}
    return Check(
        rule=plain.rule,
        kind=plain.kind,
        criticality=plain.criticality,
        outcome=outcome,
        labels={name: value for name, value in row.labels.items() if (name, value) != ("segment", "all")},
        conditions=plain.conditions,
        value=row.value,
        low=_number(row.values.get("low")),
        high=_number(row.values.get("high")),
        sample_count=row.sample_count,
        label_coverage=_number(row.values.get("label_coverage")),
        sides={side: _number(value) for side, value in beside.items()},
        text=text or (str(row.values.get("reason") or "") if row.value is None else ""),
    )


def _because(plain: Check, outcome: Outcome, text: str) -> Check:
    return Check(plain.rule, plain.kind, plain.criticality, outcome, conditions=plain.conditions, text=text)


def _why_inconclusive(rule: Rule, row: Row, sides: _Sides) -> str:
    """Why a row says nothing, for people."""
    if rule.min_samples and (row.sample_count or 0) < rule.min_samples:
        return f"{row.sample_count or 0:,} rows, and at least {rule.min_samples:,} are asked for"
    coverage = _number(row.values.get("label_coverage"))
    if rule.min_label_coverage and (coverage or 0.0) < rule.min_label_coverage:
        least = f"at least {rule.min_label_coverage:.1%} are asked for"
        return f"labels of {coverage or 0:.1%} of the rows, and {least}"
    if row.values.get("reason"):
        return str(row.values["reason"])
    if row.value is None:
        return "there is no value"
    missing = [
        f"there is no {side_column(side)}: {sides.missing.get(side, 'the rule gives none there')}"
        for side in SIDES
        if side in sides_in(rule) and row.values.get(side_column(side)) is None
    ]
    if missing:
        return "; ".join(missing)
    return "the condition is neither true nor false"


def _rows_of(rule: Rule, mount: Mount) -> list[Row]:
    """What a rule gives for other rows; nothing where it fails there."""
    judged = once(rule, mount.since, mount.until, {})
    outcome = outcome_of(mount.ask, judged, mount.until, ALL_KNOWN)
    if not isinstance(outcome, Rows) or not outcome.tuples:
        return []
    try:
        return read_rows(judged, outcome)
    except ResultError:
        return []


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < float("inf") else None
