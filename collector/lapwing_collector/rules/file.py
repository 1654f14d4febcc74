"""The rules file: its schema, and what reads it into rules."""

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo

from lapwing_collector.config.documents import (
    Document,
    Mistake,
    PlacedError,
    excerpts_in,
    parse_document,
    parse_duration,
)
from lapwing_collector.errors import ConfigError, LapwingError, QueryError
from lapwing_collector.model.alerts import RuleId
from lapwing_collector.model.description import parts
from lapwing_collector.model.slots import Cron, Every, cron
from lapwing_collector.rules.query import bare, condition_sql, nested_sql
from lapwing_collector.rules.rule import (
    CatchUp,
    Criticality,
    OnError,
    OnMissing,
    OnNoData,
    OnTimeout,
    Rule,
    Sample,
    WaitFor,
)
from lapwing_collector.rules.sql import (
    MODEL_HOLE,
    PARAMETERS,
    columns_of,
    fill_model,
    parameters_in,
    unrepeatable_in,
)
from lapwing_collector.rules.template import LABEL_VARIABLES, Template, compile_template, constant

CheckSql = Callable[[str], None]
"""Raises a LapwingError unless its argument is exactly one SELECT that may run."""

Place = tuple[str | int, ...]
"""Keys and list positions that lead to a part of a file."""

LONGEST_DEFAULT_TIMEOUT: Final = timedelta(seconds=30)
DEFAULT_MAX_CATCH_UP: Final = timedelta(hours=1)

_SOME_MODEL: Final = "m"
_NEVER: Final = "false"
"""The condition of a rule that has conditions for evaluations only."""

_LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OWN_LABELS: Final = frozenset({"alertname", "health"})
_FIRES_BELOW: Final = re.compile(r"\bvalue\s*<(?!>)|>=?\s*value\b", re.IGNORECASE)


def _text(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("a name without control characters")
    return value


def _duration(value: Any) -> timedelta:
    return parse_duration(str(value))


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("a duration longer than 0s")
    return value


def _schedule(value: str | None) -> str | None:
    return None if value is None else cron(value, "UTC").expression


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"a time zone such as Europe/Amsterdam, not {name!r}") from error
    return name


def _repeatable(sql: str) -> str:
    _without_clock(sql)
    unknown = sorted(parameters_in(sql).difference(PARAMETERS))
    if unknown:
        known = ", ".join(f"${name}" for name in PARAMETERS)
        raise ValueError(f"there is no parameter ${unknown[0]}; there is {known}")
    return sql


def _without_clock(sql: str) -> None:
    found = unrepeatable_in(sql)
    if found:
        raise ValueError(
            f"reads {', '.join(found)}, which differs in each run; use $window_start, $window_end or $slot"
        )


def _select(sql: str, info: ValidationInfo) -> str:
    return _rows(_repeatable(sql), info)


def _sample_select(sql: str, info: ValidationInfo) -> str:
    _without_clock(sql)  # its other parameters are label columns, which the rule's own SQL gives
    return _rows(sql, info)


def _rows(sql: str, info: ValidationInfo) -> str:
    filled = fill_model(sql, _SOME_MODEL, _SOME_MODEL)
    _check(filled, filled, info, "check_sql")
    _check(nested_sql(filled), filled, info, "parse_sql")  # in brackets, it asks for nothing else
    return sql.strip()


def _condition(sql: str, info: ValidationInfo) -> str:
    _repeatable(sql)
    if not sql.strip():
        raise ValueError("an SQL expression over the columns of a row, such as value > 0.2")
    filled = fill_model(sql, _SOME_MODEL, _SOME_MODEL)
    _check(condition_sql(filled), filled, info, "check_sql")
    return sql.strip()


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _check(composed: str, sql: str, info: ValidationInfo, by: str) -> None:
    """Check what `sql` is composed to, and tell where in `sql` a mistake is."""
    check_sql: CheckSql | None = (info.context or {}).get(by)
    if check_sql is None:
        return
    try:
        check_sql(composed)
    except LapwingError as error:
        message = str(error).partition("\n")[0]
        place = error.position if isinstance(error, QueryError) else None
        if place is None:
            raise ValueError(message) from error
        begin = composed.index(bare(sql))
        raise PlacedError(message, min(max(place - begin, 0), len(sql))) from error


def _label_name(name: str) -> str:
    if not _LABEL_NAME.fullmatch(name):
        raise ValueError("a name of letters, digits and _")
    return name


def _own_label(name: str) -> str:
    if name in _OWN_LABELS:
        raise ValueError("is a label that Lapwing sets itself")
    return _label_name(name)


def _field(name: str) -> str:
    parts(name)
    return name


def _label(value: Any) -> Template:
    return compile_template(_template_text(value), LABEL_VARIABLES)


def _annotation(value: Any) -> Template:
    return compile_template(_template_text(value))


def _template_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a text, not {value!r}; put it in quotes")  # noqa: TRY004  # pydantic collects ValueErrors
    return value


Name = Annotated[str, AfterValidator(_text)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]
PositiveDuration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_positive)]
Select = Annotated[str, AfterValidator(_select)]
SampleSelect = Annotated[str, AfterValidator(_sample_select)]
Condition = Annotated[str, AfterValidator(_condition)]
Labels = dict[Annotated[str, AfterValidator(_own_label)], Annotated[Template, PlainValidator(_label)]]
Annotations = dict[
    Annotated[str, AfterValidator(_label_name)], Annotated[Template, PlainValidator(_annotation)]
]
Count = Annotated[int, Field(ge=1)]
FieldName = Annotated[str, AfterValidator(_field)]


class WaitForEntry(Document):
    """Key `wait_for` of a rule."""

    expr: Select
    timeout: PositiveDuration
    on_timeout: OnTimeout = "evaluate"


class SampleEntry(Document):
    """Key `sample` of a rule."""

    expr: SampleSelect
    limit: Annotated[int, Field(ge=1, le=100)] = 5
    redact: list[Name] = Field(default_factory=list)
    attach: Literal["csv", "none"] = "csv"


class RuleEntry(Document):
    """One item of `rules`."""

    alert: Name | None = None
    record: Name | None = None
    expr: Select
    condition: Condition | None = None
    resolve_condition: Condition | None = None
    identity: list[Name] | None = None
    window: PositiveDuration | None = None
    query_offset: Duration | None = None
    catch_up: CatchUp | None = None
    max_catch_up: Duration | None = None
    for_: Duration = Field(timedelta(0), alias="for")
    keep_firing_for: Duration = timedelta(0)
    labels: Labels = Field(default_factory=dict)
    annotations: Annotations = Field(default_factory=dict)
    min_samples: Annotated[int, Field(ge=0)] = 0
    min_label_coverage: Annotated[float, Field(ge=0, le=1)] = 0
    wait_for: WaitForEntry | None = None
    on_no_data: OnNoData = "no_data"
    no_data_for: Duration = timedelta(hours=1)
    on_missing: OnMissing = "resolve"
    missing_evals: Count = 2
    on_error: OnError = "keep"
    error_for: Duration = timedelta(minutes=5)
    limit: Count | None = None
    timeout: PositiveDuration | None = None
    new_group_delay: Duration = timedelta(0)
    check_late: Duration = timedelta(0)
    criticality: Criticality = "fail"
    gate: Annotated[list[Condition], BeforeValidator(_listed)] = Field(default_factory=list)
    sample: SampleEntry | None = None
    enabled: bool = True
    owner: Annotated[Template | None, PlainValidator(_label)] = None
    model: Name | None = None
    segments: list[FieldName] | None = None

    @classmethod
    def mistakes(cls, raw: Mapping[Any, Any]) -> Iterator[Mistake]:
        """Check which keys stand together."""
        alerts, records = raw.get("alert") is not None, raw.get("record") is not None
        if not alerts and not records:
            yield (), "needs one of the keys alert and record"
        if alerts and records:
            yield ("record",), "stands beside alert; a rule has one of the two"
        elif records:
            for key in sorted(_ALERT_KEYS.intersection(raw)):
                yield (key,), "belongs to rules that alert; this one records"
        elif raw.get("condition") is None:
            for key in sorted(_CONDITION_KEYS.intersection(raw)):
                yield (key,), "needs the key condition"
            wait_for = raw.get("wait_for")
            if isinstance(wait_for, dict) and wait_for.get("on_timeout") == "no_data":
                yield ("wait_for", "on_timeout"), "no_data needs the key condition"
        yield from _unknown_labels(raw.get("expr"), raw.get("sample"))


def _unknown_labels(expr: Any, sample: Any) -> Iterator[Mistake]:
    """Find parameters of a sample that no column of the rule's SQL can give, as far as its text tells."""
    if not isinstance(sample, dict) or not isinstance(sample.get("expr"), str) or not isinstance(expr, str):
        return
    columns = columns_of(expr)
    if columns is None:
        return
    for name in sorted(parameters_in(sample["expr"]).difference(PARAMETERS)):
        if name.lower() in columns:
            continue
        near = difflib.get_close_matches(name, {*PARAMETERS, *columns}, n=1)
        hint = f"did you mean ${near[0]}?" if near else "label columns of the rule's SQL can be named"
        yield ("sample", "expr"), f"there is no parameter ${name}; {hint}"


_CONDITION_KEYS: Final = frozenset(
    {"resolve_condition", "on_no_data", "no_data_for", "on_missing", "missing_evals", "new_group_delay"}
)
_ALERT_KEYS: Final = _CONDITION_KEYS | {
    "condition",
    "identity",
    "for",
    "keep_firing_for",
    "annotations",
    "min_samples",
    "min_label_coverage",
    "check_late",
    "criticality",
    "gate",
    "sample",
    "segments",
}


class GroupEntry(Document):
    """One item of `groups`."""

    name: Name
    for_each_model: Name | None = None
    interval: PositiveDuration = timedelta(minutes=1)
    schedule: Annotated[str | None, AfterValidator(_schedule)] = None
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    query_offset: Duration = timedelta(0)
    catch_up: CatchUp = "all"
    max_catch_up: Duration | None = None
    labels: Labels = Field(default_factory=dict)
    limit: Count = 1000
    timeout: PositiveDuration | None = None
    rules: list[RuleEntry]

    @classmethod
    def mistakes(cls, raw: Mapping[Any, Any]) -> Iterator[Mistake]:
        """Check which keys stand together, and that the rules have different names."""
        if raw.get("schedule") is None and "timezone" in raw:
            yield ("timezone",), "needs the key schedule"
        if raw.get("schedule") is not None and "interval" in raw:
            yield ("schedule",), "stands beside interval; a group has one of the two"
        if raw.get("for_each_model") is None:
            yield from _holes(raw.get("rules"))
        yield from _repeated(raw.get("rules"), "rules", ("alert", "record"), "another rule of this group")


class RulesFile(Document):
    """The whole file."""

    groups: list[GroupEntry]

    @classmethod
    def mistakes(cls, raw: Mapping[Any, Any]) -> Iterator[Mistake]:
        """Check that the groups have different names."""
        yield from _repeated(raw.get("groups"), "groups", ("name",), "another group of this file")


@dataclass(frozen=True, slots=True)
class ModelGroup:
    """A group of rules that stands for one group per model.

    Attributes:
        name: The group's.
        pattern: What a model's name has to be like, with `*` and `?`.
        at: Its position in the list of groups.
    """

    name: str
    pattern: str
    at: int
    _entry: GroupEntry

    @property
    def example(self) -> str:
        """A model that there may be, whose name is as it has to be."""
        return re.sub(r"[*?]|\[.*?\]", "m", self.pattern)

    def rules_of(self, model: str, table: str) -> tuple[Rule, ...]:
        """Its rules for one model, whose tables are called `table`; none where its name is another."""
        if not fnmatchcase(model, self.pattern):
            return ()
        return tuple(_rule(self._entry, entry, (model, table)) for entry in self._entry.rules)


@dataclass(frozen=True, slots=True)
class RuleFile:
    """What a rule file says.

    Attributes:
        placed: Of groups that stand for themselves, in order, each rule with the keys and list positions that
            lead to it.
        model_groups: Groups that stand for one group per model.
    """

    placed: tuple[tuple[Rule, Place], ...]
    model_groups: tuple[ModelGroup, ...] = ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Of groups that stand for themselves, in order."""
        return tuple(rule for rule, _ in self.placed)


def load_rules(
    text: str, name: str, check_sql: CheckSql | None = None, parse_sql: CheckSql | None = None
) -> tuple[Rule, ...]:
    """Read the rules of one file, in order, but those of groups that stand for models.

    The arguments are those of `load_rule_file`.

    Raises:
        MistakesError: As `load_rule_file`.
    """
    return load_rule_file(text, name, check_sql, parse_sql).rules


def load_rule_file(
    text: str, name: str, check_sql: CheckSql | None = None, parse_sql: CheckSql | None = None
) -> RuleFile:
    """Read one file.

    Args:
        text: The file's text, YAML.
        name: The file's name, for messages.
        check_sql: Raises a LapwingError unless it is given exactly one SELECT that may run.
        parse_sql: Raises one unless it is given exactly one SELECT; what is asked for twice need not be
            looked through twice.

    Raises:
        MistakesError: The file is wrong; a line `file:line: key: what is wrong` for every mistake found.
    """
    checks = {"check_sql": check_sql, "parse_sql": parse_sql or check_sql}
    file = parse_document(text, RulesFile, name, checks)
    placed: list[tuple[Rule, Place]] = []
    model_groups = []
    for at, group in enumerate(file.groups):
        if group.for_each_model is None:
            placed += (
                (_rule(group, entry), ("groups", at, "rules", place))
                for place, entry in enumerate(group.rules)
            )
        else:
            model_groups.append(ModelGroup(group.name, group.for_each_model, at, group))
    return RuleFile(tuple(placed), tuple(model_groups))


def excerpt_of(text: str, name: str, rule: RuleId) -> tuple[int, str] | None:
    """Where a rule stands in a file: its first line, and its lines as they are; None if it is not there.

    Args:
        text: The file's text, YAML.
        name: The file's name, for messages.
        rule: Its name; of a group that stands for models, the group's may tell for which.

    Raises:
        MistakesError: The file is wrong, but for its SQL, which is not looked at.
    """
    file = parse_document(text, RulesFile, name)
    for at, group in enumerate(file.groups):
        named = rule.group if group.for_each_model is None else rule.group.partition("[")[0]
        if group.name != named:
            continue
        for place, entry in enumerate(group.rules):
            if (entry.alert or entry.record) == rule.name:
                return excerpts_in(text)(("groups", at, "rules", place))
    return None


def merge_rules(files: Mapping[str, tuple[Rule, ...]]) -> tuple[Rule, ...]:
    """Put the rules of all files, by file name, together.

    Raises:
        ConfigError: Two files have a group and rule of the same names, which would share their state.
    """
    homes: dict[RuleId, str] = {}
    mistakes = []
    for name, rules in files.items():
        for rule in rules:
            home = homes.setdefault(rule.id, name)
            if home != name:
                mistakes.append(f"{name}: {rule.id} stands in {home} too; rename the group or the rule")
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return tuple(rule for rules in files.values() for rule in rules)


def _repeated(items: Any, key: str, name_keys: tuple[str, ...], where: str) -> Iterator[Mistake]:
    if not isinstance(items, list):
        return
    seen: set[str] = set()
    for index, item in enumerate(items):
        for name_key in name_keys:
            name = item.get(name_key) if isinstance(item, dict) else None
            if isinstance(name, str):
                if name in seen:
                    yield (key, index, name_key), f"the name {name} is taken by {where}"
                seen.add(name)


def _holes(rules: Any) -> Iterator[Mistake]:
    for index, rule in enumerate(rules if isinstance(rules, list) else []):
        found = rule if isinstance(rule, dict) else {}
        nested = {key: found.get(key) for key in ("wait_for", "sample")}
        texts: dict[tuple[str | int, ...], Any] = {
            (key,): found.get(key) for key in ("expr", "condition", "resolve_condition")
        }
        texts |= {(key, "expr"): each.get("expr") for key, each in nested.items() if isinstance(each, dict)}
        gate = _listed(found.get("gate"))
        texts |= {("gate", at): each for at, each in enumerate(gate if isinstance(gate, list) else ())}
        for key, text in texts.items():
            if isinstance(text, str) and MODEL_HOLE.search(text):
                yield ("rules", index, *key), "{{ model }} needs the key for_each_model of the group"


def _filled(entry: RuleEntry, model: str, table: str) -> RuleEntry:
    """A rule of a group that stands for models, for one of them."""
    texts = {"expr": entry.expr, "condition": entry.condition, "resolve_condition": entry.resolve_condition}
    update: dict[str, Any] = {
        key: text if text is None else fill_model(text, model, table) for key, text in texts.items()
    }
    update["gate"] = [fill_model(text, model, table) for text in entry.gate]
    if entry.wait_for is not None:
        expr = fill_model(entry.wait_for.expr, model, table)
        update["wait_for"] = entry.wait_for.model_copy(update={"expr": expr})
    if entry.sample is not None:
        expr = fill_model(entry.sample.expr, model, table)
        update["sample"] = entry.sample.model_copy(update={"expr": expr})
    return entry.model_copy(update=update)


def _rule(group: GroupEntry, entry: RuleEntry, of: tuple[str, str] | None = None) -> Rule:
    """Make a rule, of a model and its table where the group stands for models."""
    if of is not None:
        entry = _filled(entry, *of)
    kind: Literal["alert", "record"] = "record" if entry.record is not None else "alert"
    owner = {} if entry.owner is None else {"owner": entry.owner}
    identity = None if entry.identity is None else tuple(entry.identity)
    wait_for, sample = entry.wait_for, entry.sample
    model = {} if of is None else {"model": constant(of[0])}
    slots = Every(group.interval) if group.schedule is None else Cron(group.schedule, group.timezone)
    max_catch_up = group.max_catch_up if entry.max_catch_up is None else entry.max_catch_up
    gates_alone = bool(entry.gate) and entry.condition is None
    condition = _NEVER if gates_alone else entry.condition
    if max_catch_up is None and kind == "alert":
        max_catch_up = DEFAULT_MAX_CATCH_UP
    return Rule(
        id=RuleId(group.name if of is None else f"{group.name}[{of[0]}]", entry.alert or entry.record or ""),
        kind=kind,
        expr=entry.expr,
        condition=condition,
        resolve_condition=entry.resolve_condition,
        identity=identity,
        slots=slots,
        window=entry.window or (group.interval if group.schedule is None else None),
        query_offset=group.query_offset if entry.query_offset is None else entry.query_offset,
        catch_up=entry.catch_up or group.catch_up,
        max_catch_up=max_catch_up,
        for_=entry.for_,
        keep_firing_for=entry.keep_firing_for,
        min_samples=entry.min_samples,
        min_label_coverage=entry.min_label_coverage,
        wait_for=WaitFor(wait_for.expr, wait_for.timeout, wait_for.on_timeout) if wait_for else None,
        on_no_data=entry.on_no_data,
        no_data_for=entry.no_data_for,
        on_missing=entry.on_missing,
        missing_evals=entry.missing_evals,
        on_error=entry.on_error,
        error_for=entry.error_for,
        limit=entry.limit or group.limit,
        timeout=entry.timeout or group.timeout or min(slots.grid / 2, LONGEST_DEFAULT_TIMEOUT),
        new_group_delay=entry.new_group_delay,
        check_late=entry.check_late,
        criticality=entry.criticality,
        sample=Sample(sample.expr, sample.limit, frozenset(sample.redact), sample.attach == "csv")
        if sample
        else None,
        enabled=entry.enabled and not gates_alone,
        model=entry.model or (of[0] if of else None),
        labels={**model, **group.labels, **owner, **entry.labels},
        annotations=entry.annotations,
        definition=_definition(kind, entry.expr, condition, entry.resolve_condition, identity),
        fires_below=bool(_FIRES_BELOW.search(entry.condition or "")),
        segments=None if entry.segments is None else tuple(entry.segments),
        gate=tuple(entry.gate) if entry.enabled else (),
    )


def _definition(*parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
