"""What the SQL of a rule gives at a slot, live or again."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import pyarrow as pa

from lapwing_collector.errors import LapwingError, NotSeenYetError, QueryError, StateUnavailableError
from lapwing_collector.model.queries import Plain
from lapwing_collector.rules import (
    NO_ROWS,
    PLACE,
    Outcome,
    QueryFailure,
    Rule,
    evaluation_query,
    many_slots_query,
    rows_from,
    wait_query,
)

T = TypeVar("T")

RunQuery = Callable[[str, Mapping[str, Any], float], pa.Table]
"""Runs SQL with parameters, within seconds."""

ReadRows = Callable[[str, Mapping[str, Any], float], Plain]
"""The same, with the rows as values of Python."""


def or_failing(
    ask: Callable[[str, Mapping[str, Any], float], T],
) -> Callable[[str, Mapping[str, Any], float], T]:
    """The same, but where nothing can be asked, as of a lake that cannot be opened, the query has failed."""

    def asking(sql: str, parameters: Mapping[str, Any], timeout_s: float) -> T:
        try:
            return ask(sql, parameters, timeout_s)
        except (QueryError, StateUnavailableError):
            raise
        except (LapwingError, OSError) as error:
            raise QueryError(str(error)) from error

    return asking


def reading(run_query: RunQuery) -> ReadRows:
    """Reads rows out of the tables that `run_query` gives."""
    return lambda sql, parameters, timeout_s: Plain.of(run_query(sql, parameters, timeout_s))


def outcome_of(run_query: RunQuery, rule: Rule, slot: datetime, as_of: datetime) -> Outcome:
    """What became of a rule's SQL.

    Args:
        run_query: Answers SQL over the lake.
        rule: Whose SQL.
        slot: When.
        as_of: All that was received up to then is in the lake.
    """
    return outcome_by(reading(run_query), rule, slot, as_of)


def outcome_by(read_rows: ReadRows, rule: Rule, slot: datetime, as_of: datetime) -> Outcome:
    """The same for who reads rows in a way of their own."""
    query = evaluation_query(rule, slot, as_of)
    try:
        answer = read_rows(query.sql, query.parameters, rule.timeout.total_seconds())
    except NotSeenYetError:
        return NO_ROWS
    except (QueryError, ValueError, OverflowError) as error:  # or values that Python has no type for
        return QueryFailure(str(error))
    return rows_from(answer.columns, answer.rows)


def outcomes_of(
    run_query: RunQuery, rule: Rule, slots: Sequence[datetime], as_of: datetime
) -> list[Outcome] | None:
    """What becomes of a rule's SQL at many slots, in one query; None where each has to be asked by itself.

    Planning some queries takes ten times as long as answering them, and one plan serves all slots.
    """
    query = many_slots_query(rule, slots, as_of)
    if query is None:
        return None
    try:
        answer = run_query(query.sql, query.parameters, rule.timeout.total_seconds() * len(slots))
        rows = [tuple(row.values()) for row in answer.to_pylist()]
    except (QueryError, ValueError, OverflowError):  # of one of the slots, or of all of them
        return None
    columns = [(field.name, str(field.type)) for field in answer.schema]
    assert columns[0][0] == PLACE  # noqa: S101  # as it was composed
    found: list[list[tuple[Any, ...]]] = [[] for _ in slots]
    for place, *row in rows:
        found[place].append(tuple(row))
    return [rows_from(columns[1:], tuples) for tuples in found]


def is_complete(run_query: RunQuery, rule: Rule, slot: datetime, as_of: datetime) -> bool | None:
    """What `wait_for.expr` gives; None for NULL, a failed query, and without `wait_for`."""
    query = wait_query(rule, slot, as_of)
    if query is None:
        return None
    try:
        answer = run_query(query.sql, query.parameters, rule.timeout.total_seconds())
    except QueryError:
        return None
    return answer.column(0)[0].as_py() if answer.num_rows else None
