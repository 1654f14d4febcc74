"""What stands behind a query that calls metrics: their SQL, what that is made of, and how a model is read."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lapwing_collector.engine import identifier
from lapwing_collector.query.library import FUNCTIONS, METRICS, PIECES, Metric, names_behind


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
    names = names_behind(f"{metric.name}(" for metric in metrics)
    described = {function.name: inspect.getdoc(function.call) or "" for function in FUNCTIONS}
    return [
        *(
            Part("view", name, f"CREATE TEMP VIEW {identifier(name)} AS\n{sql}")
            for name, sql in views.items()
        ),
        *(Part("function", name, _commented(text)) for name, text in described.items() if name in names),
        *(Part("piece", name, sql) for name, sql in PIECES.items() if name in names),
        *(
            Part("metric", metric.name, f"-- {metric.summary}\n{metric.sql};")
            for name, metric in METRICS.items()
            if name in names
        ),
    ]


def script(parts: Iterable[Part]) -> str:
    """Parts as one text of SQL, each under its name."""
    return "\n\n".join(
        f"-- {part.kind} {part.name}\n" + part.sql.removeprefix(f"-- name: {part.name}\n") for part in parts
    )


def _commented(text: str) -> str:
    return "\n".join(f"-- {line}".rstrip() for line in text.splitlines())
