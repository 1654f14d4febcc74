"""A panel, what it is asked for, and the SQL that follows from both."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from lapwing_collector.clock import epoch_ns
from lapwing_collector.engine import identifier, literal
from lapwing_collector.errors import DecodeError
from lapwing_collector.web.span import Span, interval

_TOKEN: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$(?P<name>[A-Za-z_][A-Za-z0-9_]*)""", re.DOTALL
)
"""Texts, quoted names, comments and parameters of SQL."""
_TABLE: Final = re.compile(r"""(?P<quote>["'])(?P<before>[^"'{}\n]*)\{table\}(?P=quote)""")
"""Where a file says `"{table}"` or `'{table}'`."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a panel is asked for.

    Attributes:
        span: The range of time.
        model: The model's name; None where the address names none.
        table: The name of its tables.
        asked: All that the address says.
    """

    span: Span
    model: str | None = None
    table: str | None = None
    asked: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Query:
    """SQL with the values of its parameters.

    Attributes:
        sql: One SELECT.
        parameters: Their values.
        step: From one of its times to the next, where that is another than the range has; zero where only its
            rows tell.
    """

    sql: str
    parameters: Mapping[str, Any]
    step: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One SELECT that people see the rows of.

    Attributes:
        name: The page that it belongs to and its own, as `model/traffic`; its address ends so.
        title: What it shows, in a few words.
        make: Gives its SQL for what is asked.
        about: More words, for people who wonder.
        parameters: What it can be asked for beside range of time and model, with what each means; `*` stands
            for any.
    """

    name: str
    title: str
    make: Callable[[Arguments], Query]
    about: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def axis(span: Span, step: timedelta | None) -> dict[str, int]:
    """What a chart has to know of its time axis, in milliseconds since the epoch."""
    step = span.step if step is None else step
    moments = {"from": span.since, "to": span.until, "start": span.start}
    told = {name: epoch_ns(moment) // 1_000_000 for name, moment in moments.items()}
    return told | {"step": int(step.total_seconds() * 1000)}


def filled(sql: str, arguments: Arguments, own: Mapping[str, str]) -> Query:
    """The SQL of a file for what is asked.

    `"{table}"` and `'{table}'` become the name of the model's tables, as a name and as a text; of the
    parameters `$model`, `$table`, `$from`, `$to`, `$start`, `$step`, `$version` and those of its own those
    that it names are bound.

    Args:
        sql: As it stands in the file.
        arguments: What is asked.
        own: Parameters that it has beside the usual ones.

    Raises:
        DecodeError: It is for one model, and none is named.
    """
    if _TABLE.search(sql):
        sql = _TABLE.sub(lambda found: _named(found, arguments), sql)
    span = arguments.span
    values: dict[str, Any] = {name: arguments.asked.get(name) or None for name in ("version", *own)}
    values |= {
        "from": span.since,
        "to": span.until,
        "start": span.start,
        "step": interval(span.step),
    }
    used = set(_parameters(sql))
    if used & {"model", "table"}:
        values |= {"model": _told(arguments.model), "table": _told(arguments.table)}
    return Query(sql, {name: values[name] for name in values if name in used})


def written_out(query: Query) -> str:
    """The SQL of `query` with its values in place of parameters: what people copy, and can run as it is."""

    def value_of(found: re.Match[str]) -> str:
        name = found["name"]
        return _written(query.parameters[name]) if name in query.parameters else found[0]

    return _TOKEN.sub(value_of, query.sql)


def _parameters(sql: str) -> list[str]:
    return [found["name"] for found in _TOKEN.finditer(sql) if found["name"]]


def _named(found: re.Match[str], arguments: Arguments) -> str:
    name = found["before"] + _told(arguments.table)
    return identifier(name) if found["quote"] == '"' else literal(name)


def _told(name: str | None) -> str:
    if name is None:
        raise DecodeError("say which model: ?model=NAME")
    return name


def _written(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case datetime():
            return f"TIMESTAMP '{value.isoformat(sep=' ')}'"
        case list() | tuple():
            return f"[{', '.join(map(_written, value))}]"
        case _:
            return literal(str(value))
