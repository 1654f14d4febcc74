"""Reads the metrics out of the `.sql` files beside this module: their headers, as values, and their SQL.

A metric is a table macro under a header of comments:

    -- name: accuracy
    -- summary: Share of predictions whose class is the true one.
    --   A line that is further indented goes on with the one before.
    CREATE TEMP MACRO accuracy(model, since, until, …) AS TABLE …
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Final

_CORE: Final = "core"
"""How the names of files begin that hold pieces of metrics, and none themselves; they are loaded first."""


_NAME: Final = "\n-- name: "


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument that a metric takes.

    Attributes:
        name: As it is given, `k := 10`.
        default: SQL of its default; None where it must be given.
        meaning: What it does; empty for those that all metrics share.
    """

    name: str
    default: str | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Metric:
    """A table function that people call.

    Attributes:
        name: Its name in SQL.
        group: What it is about: the name of the file it is in.
        needs: Roles, and the task, that the model's description must tell.
        summary: What it says, in a sentence.
        formula: How it is computed.
        source: What it agrees with, and where it comes from.
        parameters: What it takes, in order.
        models: Which of its parameters name a model.
        example: A query that calls it.
        sql: The statement that makes it.
    """

    name: str
    group: str
    needs: tuple[str, ...]
    summary: str
    formula: str
    source: str
    parameters: tuple[Parameter, ...]
    models: tuple[str, ...]
    example: str
    sql: str

    @property
    def call(self) -> str:
        """How it is called: its parameters with their defaults."""
        given = (p.name if p.default is None else f"{p.name} := {p.default}" for p in self.parameters)
        return f"{self.name}({', '.join(given)})"

    @property
    def reads_labels(self) -> bool:
        """Whether labels have a say in it."""
        return "truth" in self.needs or "truth" in self.sql

    @property
    def pairs(self) -> bool:
        """Whether it compares predictions of the same request."""
        return "lapwing_pairs(" in self.sql

    @property
    def reads_bins(self) -> bool:
        """Whether it compares counts in bins."""
        return any(parameter.name == "segment" for parameter in self.parameters)

    @property
    def reads_references(self) -> bool:
        """Whether it looks at rows of references, and not only at their counts."""
        names = {parameter.name for parameter in self.parameters}
        return {"reference", "reference_since"} <= names and not names & {"segment", "fields"}


@dataclass(frozen=True, slots=True)
class _Library:
    """What the files hold: metrics, and pieces of them, by name."""

    metrics: Mapping[str, Metric]
    pieces: Mapping[str, str]


def _read() -> _Library:
    metrics: dict[str, Metric] = {}
    pieces: dict[str, str] = {}
    sources = [file for file in files(__package__).iterdir() if file.name.endswith(".sql")]
    for file in sorted(sources, key=lambda each: (not each.name.startswith(_CORE), each.name)):
        parts = list(_parts(file.read_text(encoding="utf-8")))
        pieces |= {name: part for name, part in parts if name.startswith("lapwing_")}
        if not file.name.startswith(_CORE):
            metrics |= {metric.name: metric for metric in _metrics(parts, file.name.removesuffix(".sql"))}
    return _Library(MappingProxyType(metrics), MappingProxyType(pieces))


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """What stands under each name."""
    for part in f"\n{text}".split(_NAME)[1:]:
        yield part.partition("\n")[0].strip(), f"{_NAME}{part}".strip()


def _metrics(parts: Iterable[tuple[str, str]], group: str) -> Iterator[Metric]:
    """The metrics of one file, in its order.

    Raises:
        ValueError: A header is not as it has to be.
    """
    return (_metric(part, group) for name, part in parts if not name.startswith("lapwing_"))


_KEYS: Final = ("name", "group", "needs", "summary", "formula", "source", "example")


def _metric(part: str, group: str) -> Metric:
    header, statement = _split(part)
    values, meanings = _values(header)
    name = values["name"]
    if set(values) - {"models"} != set(_KEYS) or values["group"] != group:
        raise ValueError(f"{name}: a header has the keys {', '.join(_KEYS)}, and its file's name as group")
    parameters = tuple(_parameters(name, statement, meanings))
    if unknown := set(meanings) - {parameter.name for parameter in parameters}:
        raise ValueError(f"{name}: the header tells of {', '.join(sorted(unknown))}, which is no parameter")
    return Metric(
        name=name,
        group=group,
        needs=_names(values["needs"]),
        summary=values["summary"],
        formula=values["formula"],
        source=values["source"],
        parameters=parameters,
        models=_names(values.get("models", "model")),
        example=values["example"],
        sql=statement,
    )


def _split(part: str) -> tuple[list[str], str]:
    lines = part.splitlines()
    end = next((at for at, line in enumerate(lines) if not line.startswith("--")), len(lines))
    statement = "\n".join(lines[end:]).partition(";\n")[0].strip().removesuffix(";")
    return [line.removeprefix("--")[1:] for line in lines[:end]], statement


def _values(header: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What a header says by its keys, and of the parameters."""
    values: dict[str, str] = {}
    meanings: dict[str, str] = {}
    told, key = values, "name"
    for line in header:
        if line.startswith(" "):
            told[key] += " " + line.strip()
            continue
        key, _, value = line.partition(":")
        told = values
        if key.startswith("parameter "):
            key, told = key.removeprefix("parameter ").strip(), meanings
        told[key] = value.strip()
    return values, meanings


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


_MARKS: Final = re.compile(r"'[^']*'|[(\[{)\]},]")
"""What ends an argument or hides its end: brackets, commas, and texts, which may have either in them."""


def _parameters(name: str, statement: str, meanings: Mapping[str, str]) -> Iterator[Parameter]:
    head, bracket, rest = statement.partition("(")
    if not bracket or head.split() != ["CREATE", "TEMP", "MACRO", name]:
        raise ValueError(f"{name}: its header stands over another statement")
    for argument in _arguments(rest):
        parameter, assigned, default = (part.strip() for part in argument.partition(":="))
        yield Parameter(parameter, default if assigned else None, meanings.get(parameter, ""))


def _arguments(text: str) -> Iterator[str]:
    """What stands between commas, up to the bracket that closes."""
    depth, start = 0, 0
    for mark in _MARKS.finditer(text):
        if mark[0] in "([{":
            depth += 1
        elif mark[0] in ")]}" and depth:
            depth -= 1
        elif mark[0] in ",)" and not depth:
            yield text[start : mark.start()]
            start = mark.end()
            if mark[0] == ")":
                return


_LIBRARY: Final = _read()

METRICS: Final = _LIBRARY.metrics
"""Metrics by name."""
PIECES: Final = _LIBRARY.pieces
"""What metrics are made of: private macros by name, as the files have them, each before its callers."""
