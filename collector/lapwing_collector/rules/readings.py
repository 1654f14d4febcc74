"""What a result says of each alert instance, without judging anything by it."""

from lapwing_collector.rules.evaluate import Outcome, fingerprint
from lapwing_collector.rules.rows import ResultError, Row, Rows, read_rows
from lapwing_collector.rules.rule import Rule


def readings(rule: Rule, outcome: Outcome) -> dict[str, Row] | None:
    """The rows of a result by the fingerprint of their instance; None where there is no usable result."""
    if not isinstance(outcome, Rows):
        return None
    try:
        rows = read_rows(rule, outcome) if outcome.tuples else []
    except ResultError:
        return None
    return {fingerprint(rule.id, row.identity): row for row in rows}
