"""Which rules, and which part of their past, somebody asks for."""

from collections.abc import Sequence
from datetime import datetime

from lapwing_collector.app.judging.evaluating import RunQuery
from lapwing_collector.app.places.project import Project, rule_named
from lapwing_collector.errors import ConfigError, NotSeenYetError, QueryError
from lapwing_collector.rules import ALL_KNOWN, Rule, evaluation_query, parse_moment

Span = tuple[datetime, datetime]


def chosen(project: Project, names: Sequence[str]) -> list[Rule]:
    """The rules of these names, as `group/rule` or `rule`; all that are enabled if there is none.

    Raises:
        ConfigError: There is no such rule, or several have such a name.
    """
    named = [rule_named(project.rules, name) for name in names]
    return named or [rule for rule in project.rules if rule.enabled]


def moment(option: str, text: str) -> datetime:
    """The ISO time, UTC unless it says otherwise, that an option was given.

    Raises:
        ConfigError: It is none.
    """
    try:
        return parse_moment(text)
    except ValueError as error:
        raise ConfigError(f"{option}: expected {error}") from error


def slots_of(rule: Rule, span: Span) -> Span:
    """After and up to which slots the windows of a span end."""
    return span[0] + rule.query_offset, span[1] + rule.query_offset


def not_seen(run_query: RunQuery, rule: Rule, span: Span) -> str | None:
    """Live, a rule may be there before its model; whoever runs one wants to know that a name is misspelt."""
    slots = list(rule.slots.between(*slots_of(rule, span)))
    if not slots:
        return None
    query = evaluation_query(rule, slots[-1], ALL_KNOWN)
    try:
        run_query(query.sql, query.parameters, rule.timeout.total_seconds())
    except NotSeenYetError as error:
        return str(error)
    except QueryError:  # told with the windows that failed
        return None
    return None
