"""The rows behind an alert: which are asked for when it begins to fire, and what is shown of them."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from lapwing_collector.model.alerts import Status, Transition
from lapwing_collector.rules.evaluate import Outcome, fingerprint
from lapwing_collector.rules.query import ALL_KNOWN, Query, sample_query
from lapwing_collector.rules.rows import Rows, read_rows
from lapwing_collector.rules.rule import Rule
from lapwing_collector.rules.trouble import Trouble, trouble_fingerprint

MOST_SAMPLED: Final = 10
"""Alerts of one evaluation that get a sample: where more fire at once, nobody reads the rows of each."""

REDACTED: Final = "[redacted]"

_LONGEST_TEXT: Final = 500
_MOST_ITEMS: Final = 50

Sample = tuple[Mapping[str, Any], ...]


def wanted_samples(
    rule: Rule, outcome: Outcome, transitions: Iterable[Transition], as_of: datetime = ALL_KNOWN
) -> dict[str, Query]:
    """Give the queries for the rows behind the alerts that began to fire, by fingerprint.

    Args:
        rule: Whose alerts.
        outcome: What was evaluated.
        transitions: What came of it.
        as_of: All that was received up to then is in the lake.
    """
    fired = {t.instance.fingerprint: t.slot for t in transitions if t.status is Status.FIRING}
    for trouble in Trouble:
        fired.pop(trouble_fingerprint(rule.id, trouble), None)
    if rule.sample is None or not fired or not isinstance(outcome, Rows) or not outcome.tuples:
        return {}
    wanted: dict[str, Query] = {}
    for row in read_rows(rule, outcome):
        key = fingerprint(rule.id, row.identity)
        if key in fired and len(wanted) < MOST_SAMPLED:
            query = sample_query(rule, fired[key], {**row.labels, **row.identity}, as_of)
            if query is not None:
                wanted[key] = query
    return wanted


def sample_rows(rule: Rule, columns: Sequence[str], tuples: Iterable[Sequence[Any]]) -> Sample:
    """Take over the rows behind an alert: values that JSON has, without those that are to stay secret.

    Args:
        rule: Whose alert.
        columns: Their names.
        tuples: A sequence of Python values per row.
    """
    if rule.sample is None:
        return ()
    secret = frozenset(name.lower() for name in rule.sample.redact)
    return tuple(_shown(dict(zip(columns, row, strict=True)), secret) for row in tuples)


def with_samples(
    transitions: Iterable[Transition], samples: Mapping[str, Sample], *, attach: bool = False
) -> tuple[Transition, ...]:
    """Put samples, by fingerprint, to the alerts that began to fire; as a file, too, if `attach`."""
    return tuple(
        replace(transition, sample=samples[key], attach=attach)
        if transition.status is Status.FIRING and (key := transition.instance.fingerprint) in samples
        else transition
        for transition in transitions
    )


def _shown(item: Any, secret: frozenset[str]) -> Any:  # noqa: PLR0911  # one return for each kind of value
    match item:
        case Mapping():
            return dict(_entries(item, secret))
        case str():
            return _shown_text(item, secret)
        case None | bool() | int():
            return item
        case float():
            return item if math.isfinite(item) else None
        case Decimal():
            return (
                int(item)
                if item.is_finite() and item == item.to_integral_value()
                else _shown(float(item), secret)
            )
        case datetime() | date() | time():
            return item.isoformat()
        case timedelta():
            return str(item)
        case bytes():
            return f"{len(item)} bytes"
        case list() | tuple():
            return [_shown(each, secret) for each in item[:_MOST_ITEMS]]
        case _:
            return _shown(str(item), secret)


def _shown_text(text: str, secret: frozenset[str]) -> Any:
    """Columns of type JSON come as texts, and what is secret inside of one is as secret as elsewhere."""
    if secret and text.lstrip()[:1] in {"{", "["}:
        try:
            return _shown(json.loads(text), secret)
        except (ValueError, RecursionError):
            pass
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _entries(item: Mapping[Any, Any], secret: frozenset[str]) -> Iterator[tuple[str, Any]]:
    for name, value in item.items():
        hidden = str(name).lower() in secret and value is not None
        yield str(name), REDACTED if hidden else _shown(value, secret)
