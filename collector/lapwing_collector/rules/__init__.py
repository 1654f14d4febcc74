"""Rules: their file, the slots they are due at, and the alert states that follow from their results.

Everything here is pure: text, values and naive UTC times go in and come out.
"""

from lapwing_collector.rules.evaluate import (
    NO_ROWS,
    Evaluation,
    Outcome,
    QueryFailure,
    Skipped,
    evaluate,
    fingerprint,
    rule_deleted,
)
from lapwing_collector.rules.file import load_rules, merge_rules
from lapwing_collector.rules.generate import ReferenceField, rules_from
from lapwing_collector.rules.query import (
    ALL_KNOWN,
    Query,
    evaluation_query,
    evaluation_sql,
    wait_query,
)
from lapwing_collector.rules.readings import readings
from lapwing_collector.rules.rows import Row, Rows, rows_from
from lapwing_collector.rules.rule import Rule, Sample, WaitFor
from lapwing_collector.rules.sample import sample_rows, wanted_samples, with_samples
from lapwing_collector.rules.slots import Readiness, Window, due_slots, next_slot, readiness, window_of

__all__ = [
    "ALL_KNOWN",
    "NO_ROWS",
    "Evaluation",
    "Outcome",
    "Query",
    "QueryFailure",
    "Readiness",
    "ReferenceField",
    "Row",
    "Rows",
    "Rule",
    "Sample",
    "Skipped",
    "WaitFor",
    "Window",
    "due_slots",
    "evaluate",
    "evaluation_query",
    "evaluation_sql",
    "fingerprint",
    "load_rules",
    "merge_rules",
    "next_slot",
    "readiness",
    "readings",
    "rows_from",
    "rule_deleted",
    "rules_from",
    "sample_rows",
    "wait_query",
    "wanted_samples",
    "window_of",
    "with_samples",
]
