"""docs/rules.md says what the schema, the states and the templates are."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from helpers.rules_build import START
from lapwing_collector.config import Document
from lapwing_collector.rules import load_rule_file, load_rules
from lapwing_collector.rules.file import GroupEntry, RuleEntry, RulesFile, SampleEntry, WaitForEntry
from lapwing_collector.rules.states import Evidence
from lapwing_collector.rules.template import ANNOTATION_VARIABLES, compile_template

DOCS = (Path(__file__).parents[3] / "docs" / "rules.md").read_text()
SPOKEN = {  # defaults that depend on other keys, or are absent, in the words of the page
    "alert": "this or `record`",
    "record": "this or `alert`",
    "condition": "every row is bad",
    "resolve_condition": "`NOT (condition)`",
    "identity": "all label columns",
    "window": "`interval`",
    "model": "label `model`",
    "segments": "those of the [model](models.md)",
    "owner": "none",
    "wait_for": "none",
    "sample": "none",
    "labels": "none",
    "annotations": "none",
}
OF_GROUP = ("query_offset", "limit", "timeout", "catch_up", "max_catch_up")
SPOKEN_RULE = {"gate": "none", **SPOKEN, **dict.fromkeys(OF_GROUP, "the group's")}
SPOKEN_GROUP = {
    **SPOKEN,
    "timeout": "half of `interval`, at most `30s`",
    "schedule": "none",
    "for_each_model": "none",
    "timezone": "`UTC`",
    "max_catch_up": "`1h`; none for `record`",
}


def table(heading: str) -> list[tuple[str, ...]]:
    """The rows of the table under a heading, as tuples of cells."""
    section = re.split(r"^#+ ", DOCS.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\|(?!---)(.*)\|$(?!\n\|---)", section, flags=re.MULTILINE)
    return [tuple(re.split(r"(?<!\\) \| ", row.strip())) for row in rows]


def default_of(name: str | None, field: Any, spoken: dict[str, str]) -> str:
    """A key's default as the page writes it."""
    if name in spoken:
        return spoken[name]
    if field.default is PydanticUndefined:
        return "required"
    if isinstance(field.default, timedelta):
        seconds = int(field.default.total_seconds())
        unit, size = next(
            (u, n) for u, n in (("h", 3600), ("m", 60), ("s", 1)) if (seconds and seconds % n == 0) or n == 1
        )
        return f"`{seconds // size}{unit}`"
    return f"`{str(field.default).lower()}`"


@pytest.mark.parametrize(
    ("heading", "schema", "spoken"),
    [
        ("Keys of a file", RulesFile, {}),
        ("Keys of a group", GroupEntry, SPOKEN_GROUP),
        ("Keys of a rule", RuleEntry, SPOKEN_RULE),
        ("Keys of `wait_for`", WaitForEntry, {}),
        ("Keys of `sample`", SampleEntry, {"redact": "none"}),
    ],
)
def test_the_page_lists_every_key_with_its_default(
    heading: str, schema: type[Document], spoken: dict[str, str]
) -> None:
    """No key is missing, none is made up, and the defaults are the schema's."""
    documented = {row[0].strip("`"): row[1] for row in table(heading)}
    fields = {field.alias or name: field for name, field in schema.model_fields.items()}
    assert documented == {name: default_of(name, field, spoken) for name, field in fields.items()}


def test_the_page_names_every_kind_of_evidence_variable_and_value() -> None:
    """The tables of states, template variables and `on_no_data` are whole."""
    assert [re.match(r"`(\w+)`", row[0])[1] for row in table("States")] == [e.value for e in Evidence]
    variables = [row for row in table("Templates") if len(row) == 2]
    assert {row[0].strip("`") for row in variables} == ANNOTATION_VARIABLES
    values = {row[0].strip("`") for row in table("Values of `on_no_data`")}
    assert values == set(RuleEntry.model_fields["on_no_data"].annotation.__args__)


def test_the_filters_give_what_the_page_says() -> None:
    """Each example of a filter gives the text beside it."""
    examples = [row for row in table("Templates") if len(row) == 3]
    assert len(examples) == 4
    for _, sources, texts in examples:
        templates = re.findall(r"\{\{.*?\}\}", sources.replace("\\|", "|"))
        rendered = [compile_template(source).render({"slot": START}) for source in templates]
        assert rendered == re.findall(r"`(.*?)`", texts)


def test_the_examples_are_rules() -> None:
    """The YAML on the page can be read."""
    whole, schedule, waits, models, sample = re.findall(r"```yaml\n(.*?)```", DOCS, flags=re.DOTALL)
    assert load_rules(whole, "page.yaml")[0].id.name == "PredictErrorRate"
    assert load_rules(schedule, "page.yaml")[0].id.group == "fraud-quality"
    rules = [
        load_rules(f"groups:\n  - name: g\n    rules:\n{text}", "page.yaml")[0] for text in (waits, sample)
    ]
    assert {rule.id.name for rule in rules if rule.wait_for} == {"AccuracyLow"}
    assert {rule.id.name for rule in rules if rule.sample} == {"FeatureNull"}
    assert len(load_rule_file(models, "page.yaml").model_groups[0].rules_of("churn-eu", "churn-eu")) == 2
