"""`lapwing rules test`: the real engine and real SQL over tables that a test file brings."""

import difflib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isclose
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from lapwing_collector.app.judging.walking import look, walk
from lapwing_collector.app.places.project import read_model_files, read_rules_and_groups, rules_for, text_of
from lapwing_collector.app.rule_tools.memory_lake import LABELS, MemoryLake, model_table
from lapwing_collector.app.rule_tools.rehearsing import rehearse
from lapwing_collector.config import parse_duration
from lapwing_collector.errors import ConfigError, reason
from lapwing_collector.model.alerts import AlertState, Instance, MetricRow
from lapwing_collector.model.description import ModelDescription, dotted
from lapwing_collector.notify import Policy, read_notify_file
from lapwing_collector.query import Session
from lapwing_collector.rules import (
    AlertCase,
    Case,
    Evaluation,
    RecordCase,
    Rule,
    load_cases,
    parse_moment,
)

_MOMENT: Final = timedelta(microseconds=1)
_TIME: Final = pa.timestamp("us")
_FIRES: Final = frozenset({AlertState.FIRING, AlertState.RECOVERING})
_OF_EVERY_RULE: Final = frozenset({"RuleError", "RuleLimitExceeded"})
"""Alerts about rules, which each of them may raise."""
_ROOTS: Final = ("inputs", "output", "label")
"""Columns that are written down as mappings, too."""


@dataclass(frozen=True, slots=True)
class Tested:
    """What became of one test.

    Attributes:
        file: Its file.
        name: Its name, or its number.
        failures: What is not as expected, each in some lines.
        seconds: How long it took.
    """

    file: str
    name: str
    failures: Sequence[str]
    seconds: float


def run_tests(files: Iterable[Path], pattern: str | None = None) -> Iterator[Tested]:
    """Run the tests of files, each as it is asked for.

    Args:
        files: Test files; what they name is beside them.
        pattern: A regular expression; tests without a match for it in their name are left out.

    Raises:
        ConfigError: A file is wrong, or one that it names, or `pattern` is.
    """
    try:
        wanted = re.compile(pattern or "")
    except re.error as error:
        raise ConfigError(f"--run: {pattern!r} is not a regular expression: {error}") from error
    for path in files:
        file = load_cases(text_of(path), str(path))
        rules, groups = read_rules_and_groups([_beside(path, name) for name in file.rule_files])
        models = read_model_files([_beside(path, name) for name in file.model_files])
        policy = None if file.notify_file is None else read_notify_file(_beside(path, file.notify_file))
        for number, case in enumerate(file.tests, start=1):
            name = case.name or f"test {number}"
            if wanted.search(name):
                began = time.perf_counter()
                every = (*rules, *rules_for(_models_of(case), groups, rules))
                failures = tuple(_failures(case, path, every, models, policy))
                yield Tested(str(path), name, failures, time.perf_counter() - began)


def _models_of(case: Case) -> dict[str, str]:
    """The models of which a test brings something; their tables are called as they are."""
    tables = [*case.input_tables, *(series.table for series in case.input_series)]
    return {name: name for table in tables for schema, name in [model_table(table)] if schema}


def _beside(path: Path, name: str) -> Path:
    return path.parent / name


def _failures(
    case: Case,
    path: Path,
    rules: Sequence[Rule],
    models: Mapping[str, ModelDescription],
    policy: Policy | None,
) -> Iterator[str]:
    with MemoryLake() as lake:
        for table, rows in _tables(case, path, lake).items():
            lake.put(table, rows)
        for model, description in models.items():
            lake.describe(model, description)
        session = lake.session()
        alerts: dict[str, list[AlertCase]] = {}
        for alert in case.alert_rule_test:
            alerts.setdefault(alert.alertname, []).append(alert)
        for name, asked in alerts.items():
            yield from _alert_failures(case, _named(rules, "alert", name), asked, session)
        for record in case.record_rule_test:
            yield from _record_failures(case, _named(rules, "record", record.record), record, session)
        if policy is not None and case.notify_test:
            yield from _notify_failures(case, [rule for rule in rules if rule.enabled], policy, session)


# What a test brings


def _tables(case: Case, path: Path, lake: MemoryLake) -> dict[str, pa.Table]:
    """The tables of a test; labels come last, as they look for their predictions."""
    written: dict[str, list[Mapping[str, Any]]] = {}
    found: dict[str, pa.Table] = {}
    for table, source in case.input_tables.items():
        if source.file is not None:
            found[table] = _read_file(_beside(path, source.file))
        else:
            written[table] = [_flat(row) for row in source.rows or ()]
    for series in case.input_series:
        if series.table in found:
            raise ConfigError(f"{path}: {series.table} is in input_tables as a file and in input_series, too")
        rows = written.setdefault(series.table, [])
        rows += series.rows_from(case.start_timestamp, case.interval)
    found |= {table: _table(rows) for table, rows in written.items()}
    order = sorted(found, key=lambda table: table.startswith(f"{LABELS}."))
    return {table: _timed(found[table], lake.types_of(table), case, f"{path}: {table}") for table in order}


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row by column, what is inside `inputs` and the like as columns of their own."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name in _ROOTS and isinstance(value, dict):
            flat |= {dotted((name, *inner)): item for inner, item in _inside(value)}
        elif isinstance(value, dict):
            flat[name] = list(value.items())  # a map
        else:
            flat[name] = value
    return flat


def _inside(value: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, item in value.items():
        if isinstance(item, dict):
            yield from (((name, *inner), deeper) for inner, deeper in _inside(item))
        else:
            yield (name,), item


def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list[Any]) -> pa.Array:
    pairs = any(isinstance(value, list) and value and isinstance(value[0], tuple) for value in values)
    return pa.array(values, pa.map_(pa.string(), pa.string()) if pairs else None)


def _read_file(file: Path) -> pa.Table:
    try:
        if file.suffix == ".parquet":
            return pq.read_table(file)
        options = pa.csv.ConvertOptions(strings_can_be_null=True, null_values=[""])
        return pa.csv.read_csv(file, convert_options=options)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{file}: cannot be read: {reason(error)}") from error


def _timed(rows: pa.Table, types: Mapping[str, pa.DataType], case: Case, where: str) -> pa.Table:
    """Read times: those with a time zone as UTC, texts as ISO times, durations as time since the start."""
    for at, field in enumerate(rows.schema):
        if types.get(field.name) != _TIME:
            continue
        values = rows.column(at)
        if pa.types.is_string(field.type):
            try:
                read = [None if text is None else _moment(case, text) for text in values.to_pylist()]
            except ValueError as error:
                raise ConfigError(f"{where}.{field.name}: expected {error}") from error
            values = pa.array(read, _TIME)
        elif pa.types.is_timestamp(field.type):
            values = pc.cast(values, _TIME, safe=False)
        rows = rows.set_column(at, field.name, values)
    return rows


def _moment(case: Case, text: str) -> datetime:
    try:
        return case.start_timestamp + parse_duration(text)
    except ValueError:
        return parse_moment(text)


# What it expects


def _named(rules: Sequence[Rule], kind: str, name: str) -> list[Rule]:
    of_kind = [rule for rule in rules if rule.kind == kind]
    found = of_kind if name in _OF_EVERY_RULE else [rule for rule in of_kind if rule.id.name == name]
    if not found:
        known = [rule.id.name for rule in of_kind]
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
        raise ConfigError(f"the rule files have no {kind} {name}; {meant}")
    return found


def _evaluations(
    case: Case, rule: Rule, session: Session, through: timedelta
) -> Iterator[tuple[datetime, Evaluation]]:
    """Evaluate a rule at every slot from the start on."""
    start = case.start_timestamp
    slots = list(rule.slots.between(start - _MOMENT, start + through))
    run: Callable[..., pa.Table] = lambda sql, parameters, _: session.run(sql, parameters)  # noqa: E731
    for seen, evaluation in walk(rule, (look(run, rule, slot) for slot in slots)):
        yield seen.slot, evaluation


def _alert_failures(
    case: Case, rules: Sequence[Rule], asked: Sequence[AlertCase], session: Session
) -> Iterator[str]:
    """Compare what fires at some times; a rule is walked once for all of them."""
    last = max(each.eval_time for each in asked)
    newest: dict[int, list[Evaluation]] = {}
    for rule in rules:
        walked = _evaluations(case, rule, session, last)
        following = next(walked, None)
        now: Evaluation | None = None
        for at in sorted(range(len(asked)), key=lambda at: asked[at].eval_time):
            while following is not None and following[0] <= case.start_timestamp + asked[at].eval_time:
                now, following = following[1], next(walked, None)
            if now is not None and asked[at].groupname in {None, rule.id.group}:
                newest.setdefault(at, []).append(now)
    for at, alert in enumerate(asked):
        yield from _difference(alert, newest.get(at, []))


def _difference(asked: AlertCase, evaluations: Sequence[Evaluation]) -> Iterator[str]:
    instances = [
        each
        for one in evaluations
        for each in one.state.instances.values()
        if each.labels.get("alertname") == asked.alertname
    ]
    firing = [each for each in instances if each.state in _FIRES]
    wanted = [
        ({"alertname": asked.alertname, **each.exp_labels}, each.exp_annotations) for each in asked.exp_alerts
    ]
    missing = []
    for labels, annotations in sorted(wanted, key=lambda each: -len(each[0]) - len(each[1])):
        fitting = next(
            (
                each
                for each in firing
                if labels.items() <= each.labels.items() and annotations.items() <= each.annotations.items()
            ),
            None,
        )
        if fitting is None:
            missing.append((labels, annotations))
        else:
            firing.remove(fitting)
    if not missing and not firing:
        return
    lines = [f"alert_rule_test: eval_time {_shown(asked.eval_time)}, alertname {asked.alertname}:"]
    for labels, annotations in missing:
        lines.append(f"  - expected {_mapping(labels)}")
        near = max(firing, key=lambda each: _alike(labels, each), default=None)
        if near is None:
            lines += [f"      {line}" for line in _why_not(instances, evaluations)]
            continue
        firing.remove(near)
        lines.append(f"  + got      {_mapping(near.labels)}")
        for name, expected in labels.items():
            if near.labels.get(name) != expected:
                lines.append(f"      label {name}: expected {expected!r}, got {near.labels.get(name)!r}")
        for name, expected in annotations.items():
            if near.annotations.get(name) != expected:
                lines += [
                    f"      annotation {name}:",
                    f"        - {expected!r}",
                    f"        + {near.annotations.get(name)!r}",
                ]
    lines += [f"  + got      {_mapping(each.labels)}, which is not expected" for each in firing]
    yield "\n".join(lines)


def _alike(labels: Mapping[str, str], instance: Instance) -> int:
    return len(labels.items() & instance.labels.items())


def _why_not(instances: Sequence[Instance], evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Tell what is there instead of an alert that does not fire."""
    for one in evaluations:
        if one.state.error is not None:
            yield f"the rule fails: {one.state.error.partition(chr(10))[0]}"
    if not evaluations:
        yield "the rule has not been evaluated yet: no slot lies between start_timestamp and eval_time"
    elif not instances:
        yield "its query has returned no rows"
    for each in sorted(instances, key=lambda each: sorted(each.labels.items())):
        if each.state not in _FIRES:
            since = "" if each.active_at is None else f" since {each.active_at:%Y-%m-%d %H:%M}"
            value = "no value" if each.value is None else f"value {each.value:g}"
            health = "" if each.health == "ok" else f", {each.health}"
            yield f"{_mapping(each.labels)} is {each.state}{since}, {value}{health}"


def _record_failures(case: Case, rules: Sequence[Rule], asked: RecordCase, session: Session) -> Iterator[str]:
    rows: list[MetricRow] = []
    for rule in rules:
        if asked.groupname in {None, rule.id.group}:
            *_, last = [(None, None), *_evaluations(case, rule, session, asked.eval_time)]
            evaluation = last[1]
            if evaluation is not None:
                rows += evaluation.metrics
    expected = [(each.labels, each.value, each.sample_count) for each in asked.exp_samples]
    got = [(dict(row.series), row.value, row.sample_count) for row in rows]
    left = list(got)
    missing = []
    for labels, value, count in expected:
        fitting = next(
            (
                row
                for row in left
                if labels.items() <= row[0].items()
                and _close(value, row[1])
                and (count is None or count == row[2])
            ),
            None,
        )
        if fitting is None:
            missing.append((labels, value, count))
        else:
            left.remove(fitting)
    if missing or left:
        lines = [f"record_rule_test: eval_time {_shown(asked.eval_time)}, record {asked.record}:"]
        lines += [f"  - expected {_sample(*each)}" for each in missing]
        lines += [f"  + got      {_sample(*each)}" for each in left]
        yield "\n".join(lines)


def _notify_failures(case: Case, rules: Sequence[Rule], policy: Policy, session: Session) -> Iterator[str]:
    asked = sorted(case.notify_test, key=lambda each: each.eval_time)
    last = asked[-1].eval_time
    start = case.start_timestamp
    walks = [(rule, _evaluations(case, rule, session, last)) for rule in rules if rule.kind == "alert"]
    times = [start + each.eval_time for each in asked]
    for each, reached in zip(asked, rehearse(policy, walks, start, times), strict=True):
        pairs = (
            ("exp_targets", set(each.exp_targets), set(reached.targets)),
            ("exp_suppressed", set(each.exp_suppressed), set(reached.suppressed)),
        )
        lines = [
            line
            for name, expected, got in pairs
            if expected != got
            for line in (f"  - {name} {_names(expected)}", f"  + got {_names(got)}")
        ]
        if lines:
            why = [
                f"      {name} was not told: {reason}" for name, reason in sorted(reached.suppressed.items())
            ]
            yield "\n".join([f"notify_test: eval_time {_shown(each.eval_time)}:", *lines, *why])


def _names(names: Iterable[str]) -> str:
    return f"[{', '.join(sorted(names))}]"


def _close(expected: float | None, got: float | None) -> bool:
    if expected is None or got is None:
        return expected is got
    return isclose(expected, got, rel_tol=1e-9, abs_tol=1e-12)


def _sample(labels: Mapping[str, str], value: float | None, count: int | None) -> str:
    rows = "" if count is None else f" of {count:,} rows"
    return f"{_mapping(labels)} {value if value is None else format(value, 'g')}{rows}"


def _mapping(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name}: {text}" for name, text in sorted(labels.items())) + "}"


def _shown(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    parts = [(seconds // 3600, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"
