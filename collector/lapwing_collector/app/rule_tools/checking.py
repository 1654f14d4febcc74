"""`lapwing rules check`: everything that is wrong or odd in rule files, all at once, each with its place."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from lapwing_collector.app.answers.asking import Asking
from lapwing_collector.app.answers.models import models_in
from lapwing_collector.app.judging.evaluating import RunQuery
from lapwing_collector.app.places.directory import expect_usable
from lapwing_collector.app.places.project import rule_files, rule_parser, text_of
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.config import load_settings, places_in, settings_file, without_items
from lapwing_collector.errors import ConfigError, MistakesError, NotSeenYetError, QueryError
from lapwing_collector.rules import (
    Place,
    ResultError,
    Rule,
    RuleFile,
    hints,
    key_at,
    once,
    read_rows,
    repeated,
    rows_from,
    shape_query,
    unknown_parts,
    window_of,
)

if TYPE_CHECKING:
    from lapwing_collector.model.alerts import RuleId


_WRONG: Final = "__wrong__"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a rule file that a person should know.

    Attributes:
        file: Its name.
        line: Where; None where that is unknown.
        kind: A `mistake` keeps the collector from starting, or the rule from ever working; a `hint` is
            allowed, and most likely not meant.
        text: What it is, and what may have been meant.
    """

    file: str
    line: int | None
    kind: Literal["mistake", "hint"]
    text: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of rule files now.

    Attributes:
        files: How many there are.
        rules: How many rules those have that can be read.
        findings: In the order of files and lines.
        lake: Whether there was a lake to look names up in.
    """

    files: int
    rules: int
    findings: Sequence[Finding]
    lake: bool


def check_rules(file: Path | None, flags: Mapping[str, Any], files: Sequence[Path], *, lint: bool) -> Checked:
    """Check rule files.

    Args:
        file: The settings file, if any.
        flags: Settings given on the command line.
        files: What to check; the rule files of the settings if there is none.
        lint: Whether to tell what is merely odd, too.

    Raises:
        ConfigError: The settings are wrong, or there is no rule file.
    """
    file = settings_file(file)
    settings = load_settings(file, flags=flags)
    files = list(files) or rule_files(file, settings)
    if not files:
        folder = file.parent if file is not None else Path()
        raise ConfigError(f"no file fits {', '.join(settings.rules)} in {folder.resolve()}")
    findings: list[Finding] = []
    read: list[_Read] = []
    with rule_parser() as parse:
        for path in files:
            try:
                text = text_of(path)
                read += [_Read(str(path), text, parse(text, str(path)))]
            except MistakesError as error:
                findings += [Finding(error.file, line, "mistake", what) for line, what in error.mistakes]
                lines = {line for line, _ in error.mistakes if line is not None}
                rest = without_items(text, lines, ("groups", "rules"), _in_its_place)
                with suppress(ConfigError):  # more than single rules is wrong
                    read += [_Read(str(path), rest, parse(rest, str(path)))]
            except ConfigError as error:
                findings.append(Finding(str(path), None, "mistake", str(error).removeprefix(f"{path}: ")))
    findings += _taken_names(read)
    there = expect_usable(settings.data).catalog.exists()
    if there:
        with _asking(file, flags) as ask:
            models = models_in(ask) if any(one.content.model_groups for one in read) else {}
            findings += [each for one in read for each in _bound(one, one.for_models(models), ask)]
    if lint:
        findings += _odd(read)
    else:
        findings = [each for each in findings if each.kind == "mistake"]
    order = {str(path): at for at, path in enumerate(files)}
    findings.sort(key=lambda each: (order[each.file], each.line or 0, each.text))
    return Checked(len(files), sum(len(one.rules) for one in read), findings, there)


def _in_its_place(number: int) -> str:
    """What stands for a rule with mistakes, so that the others of its file are looked at."""
    return f"{{alert: {_WRONG}{number}, expr: SELECT 1 AS value, enabled: false}}"


@dataclass(frozen=True)
class _Read:
    """A file whose own mistakes, if it has any, are out of the way."""

    file: str
    text: str
    content: RuleFile

    @cached_property
    def rules(self) -> Sequence[tuple[Rule, Place]]:
        """Its rules, those of groups for models as they are for one that there may be."""
        return self.for_models({group.example: group.example for group in self.content.model_groups})

    def for_models(self, models: Mapping[str, str]) -> Sequence[tuple[Rule, Place]]:
        """Its rules, those of groups for models as they are for the first one that fits."""
        found = [each for each in self.content.placed if not each[0].id.name.startswith(_WRONG)]
        for group in self.content.model_groups:
            filled = (group.rules_of(model, table) for model, table in sorted(models.items()))
            rules = next((rules for rules in filled if rules), ())
            found += [
                (rule, ("groups", group.at, "rules", place))
                for place, rule in enumerate(rules)
                if not rule.id.name.startswith(_WRONG)
            ]
        return found

    @cached_property
    def line_of(self) -> Callable[[Sequence[str | int], int], int]:
        return places_in(self.text)

    def finding(
        self, place: Place, key: str, kind: Literal["mistake", "hint"], text: str, position: int = 0
    ) -> Finding:
        """Tell something of a key of a rule."""
        line = self.line_of((*place, *key.split(".")), position)
        shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in (*place, key))
        return Finding(self.file, line, kind, f"{shown[1:]}: {text}")


def _taken_names(read: Sequence[_Read]) -> Iterator[Finding]:
    homes: dict[RuleId, str] = {}
    for one in read:
        for rule, place in one.rules:
            home = homes.setdefault(rule.id, one.file)
            if home != one.file:
                text = f"{rule.id} stands in {home} too; rename the group or the rule"
                yield one.finding(place, rule.kind, "mistake", text)


def _odd(read: Sequence[_Read]) -> Iterator[Finding]:
    every = [(one, rule, place) for one in read for rule, place in one.rules]
    for one, rule, place in every:
        for key, text in hints(rule):
            yield one.finding(place, key, "hint", text)
    for at, other in repeated([rule for _, rule, _ in every]):
        one, rule, place = every[at]
        yield one.finding(place, rule.kind, "hint", f"asks what {other} asks already, and tells it once more")


@contextmanager
def _asking(file: Path | None, flags: Mapping[str, Any]) -> Iterator[RunQuery]:
    with Asking.over(file, flags) as asking:
        yield asking.run


def _bound(one: _Read, rules: Sequence[tuple[Rule, Place]], ask: RunQuery) -> Iterator[Finding]:
    """What the lake, as it is now, says of rules of a file."""
    now = utc_datetime(SystemClock().now_ns())
    for rule, place in rules:
        slot = rule.slots.after(now)
        query = shape_query(rule, slot)
        try:
            answer = ask(query.sql, query.parameters, rule.timeout.total_seconds())
        except QueryError as error:
            key, position = ("expr", 0) if error.position is None else key_at(rule, error.position)
            # Data may bring what has not come yet, but not a column that the rule's own SQL does not give.
            to_come = isinstance(error, NotSeenYetError) and key == "expr"
            yield one.finding(place, key, "hint" if to_come else "mistake", _told(error), position)
            continue
        rows = rows_from([(field.name, str(field.type)) for field in answer.schema], [])
        try:
            read_rows(rule, rows)
        except ResultError as error:
            yield one.finding(place, "expr", "mistake", str(error))
        for key, text in unknown_parts(rule, rows):
            yield one.finding(place, key, "mistake", text)
        if rule.gate:
            whole = once(rule, window_of(rule, slot).start, slot, {})
            query = shape_query(whole, slot)
            try:
                ask(query.sql, query.parameters, rule.timeout.total_seconds())
            except QueryError as error:
                yield one.finding(place, "gate", "mistake", _told(error))


def _told(error: QueryError) -> str:
    text, *more = str(error).splitlines()
    near = next((line for line in more if line.startswith("Candidate")), "")
    if "did you mean" in text.lower() or not (near or error.candidates):
        return text
    meant = near.partition(":")[2].strip() or " or ".join(error.candidates[:3])
    return f"{text.rstrip('!.')}; did you mean {meant}?"
