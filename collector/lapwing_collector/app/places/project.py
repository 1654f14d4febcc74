"""What a person configured: settings, rules and targets, read and checked before anything starts."""

import difflib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from lapwing_collector import engine
from lapwing_collector.config import Settings, load_model, load_settings, merge_models, settings_file
from lapwing_collector.errors import ConfigError
from lapwing_collector.lake import declared_type
from lapwing_collector.model.alerts import RuleId
from lapwing_collector.model.description import FeatureType, ModelDescription, parts
from lapwing_collector.notify import NOBODY, Target, read_notify_file
from lapwing_collector.notify import Policy as NotifyPolicy
from lapwing_collector.query import (
    PARTNERS,
    check_select,
    paired_in,
    parse_select,
    reads_profiles,
    tables_in,
)
from lapwing_collector.redact import Policy, read_policy
from lapwing_collector.rules import (
    INGEST_STALLED,
    WATCHDOG,
    ModelGroup,
    Rule,
    RuleFile,
    builtin_rules,
    load_rule_file,
    merge_rules,
)

logger = logging.getLogger(__name__)

NOTIFY_FILE: Final = "notify.yaml"
REDACTION_FILE: Final = "redact.yaml"

_REMEMBERED: Final = 1024
"""Checked pieces of SQL."""

_MODEL_SCHEMAS: Final = frozenset({"predictions", "predictions_all", "labels", "labeled"})


@dataclass(frozen=True, slots=True)
class Project:
    """Everything the collector was told.

    Attributes:
        settings: From file, environment and flags.
        rules: From all rule files.
        model_groups: Groups of rules that stand for one group per model; `with_models` gives those.
        sources: The models' tables that each rule's SQL names, in lower case, and the schemas that it names
            each with, and `PARTNERS`. What is recorded of profiles names its model's `predictions`.
        models: What files say of models, by name.
        notify: Who is told about alerts; nobody without a notify file.
        policy: What is taken out of requests; None where there is no rule.
        file: The settings file, if there is one.
        builtin: Whether the rules that come with Lapwing are among them.
    """

    settings: Settings
    rules: tuple[Rule, ...]
    sources: Mapping[RuleId, Mapping[str, frozenset[str]]]
    models: Mapping[str, ModelDescription]
    notify: NotifyPolicy
    policy: Policy | None
    model_groups: tuple[ModelGroup, ...] = ()
    file: Path | None = None
    builtin: bool = False

    @property
    def targets(self) -> tuple[Target, ...]:
        """Those of the notify file."""
        return self.notify.targets

    @property
    def tables(self) -> Mapping[RuleId, frozenset[str]]:
        """The models' tables that each rule's SQL names, in lower case."""
        return {rule: frozenset(tables) for rule, tables in self.sources.items()}


def load_project(file: Path | None, flags: Mapping[str, Any]) -> Project:
    """Read the settings file and what it names; without one, `lapwing.yaml` of this folder, if there is one.

    Args:
        file: The settings file.
        flags: Settings given on the command line, by dotted name.

    Raises:
        ConfigError: One line for every mistake in the first file that has any.
    """
    file = settings_file(file)
    settings = load_settings(file, flags=flags)
    folder = file.parent if file is not None else Path()
    rules, model_groups = read_rules_and_groups(rule_files(file, settings))
    models = read_model_files(_found(folder, settings.models, "model file"))
    notify = _notify_policy(folder, settings)
    redact = folder / (settings.redact or REDACTION_FILE)
    policy = read_policy(redact) if settings.redact or redact.exists() else None
    return Project(settings, rules, sources_of(rules), models, notify, policy, model_groups, file)


def with_files_again(project: Project) -> Project:
    """The project with rules and targets as their files are now; all else is as it was.

    Raises:
        ConfigError: One line for every mistake of all of them.
    """
    folder = project.file.parent if project.file is not None else Path()
    wrong = []
    try:
        rules, model_groups = read_rules_and_groups(rule_files(project.file, project.settings))
    except ConfigError as error:
        wrong.append(str(error))
    try:
        notify = _notify_policy(folder, project.settings)
    except ConfigError as error:
        wrong.append(str(error))
    if wrong:
        raise ConfigError("\n".join(wrong))
    again = replace(project, rules=rules, sources=sources_of(rules), model_groups=model_groups, notify=notify)
    return with_builtin_rules(again) if project.builtin else again


def with_builtin_rules(project: Project) -> Project:
    """The project with the rules that come with Lapwing, as its settings say, for who evaluates slots."""
    settings, wanted = project.settings, set()
    if settings.clock == "wall":  # in a replay nothing is ever late, and time goes by in an instant
        wanted |= {WATCHDOG} if settings.alerts.watchdog else set()
        wanted |= {INGEST_STALLED} if settings.alerts.ingest_stalled and project.targets else set()
    if not wanted:
        return replace(project, builtin=True)
    rules, groups = builtin_rules(wanted, project.rules, project.model_groups)
    return replace(
        project,
        rules=(*project.rules, *rules),
        sources={**project.sources, **sources_of(rules)},
        model_groups=(*project.model_groups, *groups),
        builtin=True,
    )


def with_models(project: Project, models: Mapping[str, str]) -> Project:
    """The project with the rules that its groups for models stand for.

    Args:
        project: As the files have it.
        models: Those that there are: the name of each, and of its tables.
    """
    made = rules_for(models, project.model_groups, project.rules)
    sources = {**project.sources, **sources_of(made)}
    return replace(project, rules=(*project.rules, *made), sources=sources)


def rules_for(models: Mapping[str, str], groups: Iterable[ModelGroup], others: Iterable[Rule]) -> list[Rule]:
    """The rules that groups for models stand for; those whose names others have are left out.

    Args:
        models: Those that there are: the name of each, and of its tables.
        groups: What is to be filled in.
        others: Rules that stand for themselves.
    """
    taken = {rule.id for rule in others}
    return [
        rule
        for group in groups
        for model, table in sorted(models.items())
        for rule in group.rules_of(model, table)
        if rule.id not in taken
    ]


def sources_of(rules: Iterable[Rule]) -> dict[RuleId, Mapping[str, frozenset[str]]]:
    """The models' tables that each rule's SQL names, as in `Project.sources`."""
    with engine.parser() as parser:
        return {rule.id: _sources(parser, rule) for rule in rules}


def declared_types(project: Project) -> dict[str, dict[tuple[str, ...], pa.DataType]]:
    """The types that files declare for fields, by model."""
    return {
        model: {parts(field): declared_type(kind) for field, kind in described.types.items()}
        for model, described in project.models.items()
        if described.types
    }


def described_texts(project: Project) -> dict[str, dict[tuple[str, ...], bool]]:
    """The fields that files declare to be texts, by model, and whether their texts are kept."""
    found = {
        model: {
            parts(name): feature.keep is not False
            for name, feature in described.features.items()
            if feature.type is FeatureType.TEXT
        }
        for model, described in project.models.items()
    }
    return {model: texts for model, texts in found.items() if texts}


def settings_for(file: Path | None, flags: Mapping[str, Any]) -> Settings:
    """The settings alone, for commands that need no rules.

    Raises:
        ConfigError: One line for every mistake.
    """
    return load_settings(settings_file(file), flags=flags)


def models_for(file: Path | None) -> tuple[Settings, dict[str, ModelDescription]]:
    """The settings and what files say of models, for commands that need no rules of the project.

    Raises:
        ConfigError: One line for every mistake.
    """
    file = settings_file(file)
    settings = load_settings(file, flags={})
    folder = file.parent if file is not None else Path()
    return settings, read_model_files(_found(folder, settings.models, "model file"))


def notify_policy(file: Path | None) -> NotifyPolicy:
    """Who is told about alerts, of a project.

    Raises:
        ConfigError: One line for every mistake.
    """
    file = settings_file(file)
    folder = file.parent if file is not None else Path()
    return _notify_policy(folder, load_settings(file, flags={}))


def _notify_policy(folder: Path, settings: Settings) -> NotifyPolicy:
    file = folder / (settings.notify or NOTIFY_FILE)
    return read_notify_file(file) if settings.notify or file.exists() else NOBODY


def read_rules_and_groups(files: Sequence[Path]) -> tuple[tuple[Rule, ...], tuple[ModelGroup, ...]]:
    """Read rule files: the rules that stand for themselves, and groups that stand for one per model.

    A rule's group and name must be unique over all of them.

    Raises:
        ConfigError: One line for every mistake.
    """
    read, wrong = {}, []
    with rule_parser() as parse:
        for file in files:
            try:
                read[str(file)] = parse(text_of(file), str(file))
            except ConfigError as error:
                wrong.append(error)
    if wrong:
        raise wrong[0] if len(wrong) == 1 else ConfigError("\n".join(map(str, wrong)))
    rules = merge_rules({name: file.rules for name, file in read.items()})
    return rules, tuple(group for file in read.values() for group in file.model_groups)


def rule_files(file: Path | None, settings: Settings) -> list[Path]:
    """The rule files that the settings, read from `file`, lead to.

    Raises:
        ConfigError: One that is named does not exist.
    """
    return _found(file.parent if file is not None else Path(), settings.rules, "rule file")


def rule_named(rules: Sequence[Rule], name: str) -> Rule:
    """The rule that is called `group/name`, or `name` alone where that says which.

    Raises:
        ConfigError: There is none, or there are several.
    """
    found = [rule for rule in rules if name in {str(rule.id), rule.id.name}]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{name} is the name of several rules: {', '.join(str(rule.id) for rule in found)}")
    near = difflib.get_close_matches(
        name, [known for rule in rules for known in (str(rule.id), rule.id.name)]
    )
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    raise ConfigError(f"there is no rule {name!r} among the {len(rules)} of this project{meant}")


@contextmanager
def rule_parser() -> Iterator[Callable[[str, str], RuleFile]]:
    """What reads the text of one rule file, given its name; it raises a MistakesError if it is wrong."""
    with engine.parser() as parser:
        parser.execute("SET errors_as_json = true")  # which tells places
        # Rules often share their conditions.
        check = lru_cache(_REMEMBERED)(partial(check_select, parser))
        yield lambda text, name: load_rule_file(text, name, check, partial(parse_select, parser))


def read_model_files(files: Sequence[Path]) -> dict[str, ModelDescription]:
    """Read files that describe models, each another one.

    Raises:
        ConfigError: One line for every mistake.
    """
    return merge_models(
        {str(file): load_model(text_of(file), str(file), check_type=declared_type) for file in files}
    )


def text_of(file: Path) -> str:
    """The text of a file.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 text: byte {error.start} does not fit") from error


def _found(folder: Path, patterns: Sequence[str], what: str) -> list[Path]:
    """The files that patterns beside the settings file lead to."""
    files = []
    for pattern in patterns:
        _expect_readable(folder / pattern)
        found = [Path(pattern)] if Path(pattern).is_absolute() else sorted(folder.glob(pattern))
        if not found and "*" not in pattern:
            raise ConfigError(f"{folder / pattern}: this {what}, named in the settings, does not exist")
        files += found
    return files


def _expect_readable(pattern: Path) -> None:
    """See that the folder in which files are looked for can be read: one that cannot seems to be empty."""
    named = takewhile(lambda part: not set("*?[") & set(part), pattern.parent.parts)
    folder = Path(*named)
    try:
        with os.scandir(folder):
            pass
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from error


def _sources(parser: duckdb.DuckDBPyConnection, rule: Rule) -> dict[str, frozenset[str]]:
    texts = [rule.expr] + ([rule.wait_for.expr] if rule.wait_for else [])
    found: dict[str, frozenset[str]] = {}
    for text in texts:
        for schema, table in tables_in(parser, text):
            if schema.lower() in _MODEL_SCHEMAS:
                found[table.lower()] = found.get(table.lower(), frozenset()) | {schema.lower()}
        for table in paired_in(parser, text):
            found[table.lower()] |= {PARTNERS}
    if rule.kind == "record" and any(reads_profiles(parser, text) for text in texts):
        model = _model_of(rule)
        if model is not None:
            found[model.lower()] = found.get(model.lower(), frozenset()) | {"predictions"}
        elif not found:
            logger.warning(
                "rule %s records of profiles and does not say whose: late rows do not touch its windows, and "
                "none waits for its data; give it the key `model`",
                rule.id,
                extra={"action": "rule_untouched"},
            )
    return found


def _model_of(rule: Rule) -> str | None:
    """The model that a rule stores its metric for, as far as that is known before it has a row."""
    label = rule.labels.get("model")
    if rule.model is not None or label is None:
        return rule.model
    return None if label.variables else label.render({})
