"""What is allowed in a rule and yet most likely not meant. Pure: it knows the files alone."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from lapwing_collector.model.alerts import RuleId
from lapwing_collector.rules.query import ACTIVE, CLEAR
from lapwing_collector.rules.rows import LABEL_COVERAGE, SAMPLE_COUNT, ColumnKind, Rows
from lapwing_collector.rules.rule import Rule
from lapwing_collector.rules.sql import names_in, parameters_in
from lapwing_collector.rules.template import parts_read

Hint = tuple[str, str]
"""A key of a rule, and what is odd about it."""

_ZONED: Final = re.compile(r"\btimestamptz\b|\btimestamp\s+with\s+time\s+zone\b", re.IGNORECASE)


def hints(rule: Rule) -> Iterator[Hint]:
    """Tell what is odd about one rule."""
    names = names_in(rule.expr)
    if "from" in names and not parameters_in(rule.expr):
        yield "expr", "reads all rows at every slot: compare `time` with $window_start and $window_end"
    if _ZONED.search(rule.expr):
        yield (
            "expr",
            (
                "compares with a time that has a time zone, for which every file is read: "
                "times are TIMESTAMP in UTC, and so are $window_start and $window_end"
            ),
        )
    if rule.kind == "record":
        return
    judged = names_in(rule.condition or "")
    if SAMPLE_COUNT in names and not rule.min_samples and SAMPLE_COUNT not in judged:
        yield (
            "expr",
            "gives sample_count, which nothing looks at: `min_samples` asks for enough rows",
        )
    if LABEL_COVERAGE in names and not rule.min_label_coverage and LABEL_COVERAGE not in judged:
        yield "expr", "gives label_coverage, which nothing looks at: `min_label_coverage` waits for labels"
    if not {"summary", "description"}.intersection(rule.annotations):
        yield "alert", "has no annotation `summary`: messages have nothing to say but labels and numbers"


def repeated(rules: Sequence[Rule]) -> Iterator[tuple[int, RuleId]]:
    """Tell, by position, the rules that ask what another one asks already, and which that is."""
    seen: dict[tuple[object, ...], RuleId] = {}
    for at, rule in enumerate(rules):
        texts = tuple(sorted((name, text.source) for name, text in rule.labels.items()))
        name = rule.id.name if rule.kind == "record" else ""
        asks = (rule.definition, rule.window, rule.query_offset, rule.for_, rule.slots, name, texts)
        other = seen.setdefault(asks, rule.id)
        if other != rule.id:
            yield at, other


def unknown_parts(rule: Rule, rows: Rows) -> Iterator[Hint]:
    """Tell what texts of a rule read that none of its columns gives, once these are known."""
    columns = {column.name: column.kind for column in rows.columns if column.name not in {ACTIVE, CLEAR}}
    labels = {
        name for name, kind in columns.items() if kind is ColumnKind.LABEL or name in (rule.identity or ())
    }
    values = columns.keys() - labels
    known: Mapping[str, Collection[str]] = {
        "labels": {*labels, *rule.labels, "alertname", "health"},
        "values": values,
    }
    for key, texts in (("labels", rule.labels), ("annotations", rule.annotations)):
        for name, text in texts.items():
            for of, part in sorted(parts_read(text)):
                given = labels if (key, of) == ("labels", "labels") else known[of]
                if part not in given:
                    near = difflib.get_close_matches(part, given, n=1)
                    there = f"there is {', '.join(sorted(given)) or 'none'}"
                    meant = f"did you mean {near[0]}?" if near else there
                    yield f"{key}.{name}", f"reads ${of}.{part}, which the SQL does not give; {meant}"
