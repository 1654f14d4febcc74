"""Makes known to a connection what a query needs of the library; all of it takes a quarter of a second."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Final

import duckdb

from lapwing_collector.query.library.catalogue import METRICS, PIECES
from lapwing_collector.query.library.functions import FUNCTIONS, register

_CALLED: Final = re.compile(r"\b([a-z_]\w*)\s*\(")
_VIEW: Final = re.compile(r"""temp\.main\."(\w+):""")
_FUNCTIONS: Final = {function.name: function for function in FUNCTIONS}


def load(connection: duckdb.DuckDBPyConnection, texts: Iterable[str], loaded: set[str]) -> None:
    """Let `connection` run SQL that calls metrics, or what they are made of.

    Metrics read the views `scored:…`, `truths:…` and so on of the model that they are called for.

    Args:
        connection: What to let it.
        texts: The SQL.
        loaded: Names that it knows already; those that are loaded are added.
    """
    needed = names_behind(texts) - loaded
    for name, function in _FUNCTIONS.items():
        if name in needed:
            register(connection, function)
    statements = [sql for name, sql in PIECES.items() if name in needed]
    statements += [f"{METRICS[name].sql};" for name in METRICS if name in needed]
    if statements:
        connection.execute("\n".join(statements))
    loaded |= needed


def names_behind(texts: Iterable[str]) -> set[str]:
    """Names of all functions, pieces and metrics that SQL calls, and that those call in turn."""
    found: set[str] = set()
    waiting = [name for text in texts for name in _called(text)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            metric = METRICS.get(name)
            waiting += _called(metric.sql if metric is not None else PIECES.get(name, ""))
    return found


@cache
def views_behind(name: str) -> frozenset[str]:
    """Which views a metric reads a model through, by kind: `scored`, `truths` and so on."""
    pieces = (PIECES.get(called, "") for called in names_behind([f"{name}("]))
    return frozenset(kind for piece in pieces for kind in _VIEW.findall(piece))


def _called(text: str) -> set[str]:
    named = set(_CALLED.findall(text.lower()))
    return {name for name in named if name in METRICS or name in PIECES or name in _FUNCTIONS}
