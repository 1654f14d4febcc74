"""Rules: their file, the slots they are due at, and the alert states that follow from their results.

Everything here is pure: text, values and naive UTC times go in and come out.
"""

from lapwing_collector.rules.bounds import Bound, bounds_of
from lapwing_collector.rules.builtin import INGEST_STALLED, WATCHDOG, builtin_rules, is_builtin
from lapwing_collector.rules.cases import (
    AlertCase,
    Case,
    CaseFile,
    NotifyCase,
    RecordCase,
    load_cases,
    parse_moment,
)
from lapwing_collector.rules.drill import drill, drill_over
from lapwing_collector.rules.evaluate import (
    NO_ROWS,
    Evaluation,
    Outcome,
    QueryFailure,
    Skipped,
    evaluate,
    fingerprint,
    rule_deleted,
    rule_disabled,
)
from lapwing_collector.rules.file import (
    ModelGroup,
    Place,
    RuleFile,
    excerpt_of,
    load_rule_file,
    load_rules,
    merge_rules,
)
from lapwing_collector.rules.generate import ReferenceField, rules_from
from lapwing_collector.rules.late import raise_late, slots_to_judge_again
from lapwing_collector.rules.lint import hints, repeated, unknown_parts
from lapwing_collector.rules.once import SIDES, conditions, once, side_column, sides_in
from lapwing_collector.rules.past import Course, Following, Gathering, Summary, tried_with
from lapwing_collector.rules.query import (
    ALL_KNOWN,
    PLACE,
    Query,
    condition_sql,
    evaluation_query,
    evaluation_sql,
    key_at,
    many_slots_query,
    shape_query,
    wait_query,
)
from lapwing_collector.rules.readings import readings
from lapwing_collector.rules.rows import ResultError, Row, Rows, read_rows, rows_from
from lapwing_collector.rules.rule import Rule, Sample, WaitFor
from lapwing_collector.rules.sample import sample_rows, wanted_samples, with_samples
from lapwing_collector.rules.slots import Readiness, Window, next_due, reached, readiness, window_of

__all__ = [
    "ALL_KNOWN",
    "INGEST_STALLED",
    "NO_ROWS",
    "PLACE",
    "SIDES",
    "WATCHDOG",
    "AlertCase",
    "Bound",
    "Case",
    "CaseFile",
    "Course",
    "Evaluation",
    "Following",
    "Gathering",
    "ModelGroup",
    "NotifyCase",
    "Outcome",
    "Place",
    "Query",
    "QueryFailure",
    "Readiness",
    "RecordCase",
    "ReferenceField",
    "ResultError",
    "Row",
    "Rows",
    "Rule",
    "RuleFile",
    "Sample",
    "Skipped",
    "Summary",
    "WaitFor",
    "Window",
    "bounds_of",
    "builtin_rules",
    "condition_sql",
    "conditions",
    "drill",
    "drill_over",
    "evaluate",
    "evaluation_query",
    "evaluation_sql",
    "excerpt_of",
    "fingerprint",
    "hints",
    "is_builtin",
    "key_at",
    "load_cases",
    "load_rule_file",
    "load_rules",
    "many_slots_query",
    "merge_rules",
    "next_due",
    "once",
    "parse_moment",
    "raise_late",
    "reached",
    "read_rows",
    "readiness",
    "readings",
    "repeated",
    "rows_from",
    "rule_deleted",
    "rule_disabled",
    "rules_from",
    "sample_rows",
    "shape_query",
    "side_column",
    "sides_in",
    "slots_to_judge_again",
    "tried_with",
    "unknown_parts",
    "wait_query",
    "wanted_samples",
    "window_of",
    "with_samples",
]
