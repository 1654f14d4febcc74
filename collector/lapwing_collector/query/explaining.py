"""What stands behind a query that calls metrics: their SQL, what that is made of, and how a model is read."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lapwing_collector.engine import identifier
from lapwing_collector.query.library import FUNCTIONS, PIECES, PRIVATE, Metric

_PRIVATE_NAME: Final = re.compile(rf"\b{PRIVATE}\w+")


@dataclass(frozen=True, slots=True)
class Part:
    """One thing behind a query.

    Attributes:
        kind: `view`, `function`, `piece` or `metric`.
        name: Its name in SQL.
        sql: What makes it; of a function, which is Python, what it does.
    """

    kind: str
    name: str
    sql: str


def explain(metrics: Iterable[Metric], views: Mapping[str, str]) -> list[Part]:
    """Everything behind `metrics` that read models through `views`: each before what it is used by."""
    wanted = list(dict.fromkeys(metrics))
    names = _used_by(metric.sql for metric in wanted)
    described = {function.name: inspect.getdoc(function.call) or "" for function in FUNCTIONS}
    return [
        *(
            Part("view", name, f"CREATE TEMP VIEW {identifier(name)} AS\n{sql}")
            for name, sql in views.items()
        ),
        *(Part("function", name, _commented(text)) for name, text in described.items() if name in names),
        *(Part("piece", name, sql) for name, sql in PIECES.items() if name in names),
        *(Part("metric", metric.name, f"-- {metric.summary}\n{metric.sql};") for metric in wanted),
    ]


def script(parts: Iterable[Part]) -> str:
    """Parts as one text of SQL, each under its name."""
    return "\n\n".join(
        f"-- {part.kind} {part.name}\n" + part.sql.removeprefix(f"-- name: {part.name}\n") for part in parts
    )


def _used_by(statements: Iterable[str]) -> set[str]:
    """Names of everything private that is called, or called by what is."""
    found: set[str] = set()
    waiting = [name for sql in statements for name in _private(sql)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _private(PIECES.get(name, ""))
    return found


def _private(sql: str) -> Iterator[str]:
    return (match[0] for match in _PRIVATE_NAME.finditer(sql))


def _commented(text: str) -> str:
    return "\n".join(f"-- {line}".rstrip() for line in text.splitlines())
