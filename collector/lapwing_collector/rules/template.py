"""Texts of alerts: Jinja2 in its sandbox, with Prometheus's spelling (`{{ $labels.x }}`) and filters.

Mistakes that can be seen without data (syntax, unknown names, unknown filters) are refused when the rule is
loaded. What fails only on data becomes a note in the text's place: an alert matters more than its wording.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import jinja2
import jinja2.meta
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

LABEL_VARIABLES: Final = frozenset({"labels"})
"""What the template of a label may read: nothing that changes from slot to slot, as routing depends on it."""

ANNOTATION_VARIABLES: Final = frozenset(
    {"labels", "value", "values", "window_start", "window_end", "slot", "sample_count"}
)
"""What the template of an annotation may read."""

_BLOCK: Final = re.compile(r"\{\{.*?(\}\}|\Z)|\{%.*?(%\}|\Z)", re.DOTALL)
_DOLLAR: Final = re.compile(r"\$(?=[A-Za-z_])")
_REMEMBERED: Final = 16_384
"""Templates; each takes some kilobytes."""


class TemplateError(ValueError):
    """A template that can never work; the message says why."""


@dataclass(frozen=True, slots=True)
class Template:
    """A text with holes.

    Attributes:
        source: As written in the rules file.
        variables: The variables it reads; none makes it a constant.
    """

    source: str
    variables: frozenset[str]

    def render(self, values: Mapping[str, Any]) -> str:
        """Fill the holes; a failure becomes a note in the text's place, never an exception."""
        return _rendered(self.source, values) if self.variables else _constant(self.source)


def compile_template(source: str, allowed: Collection[str] = ANNOTATION_VARIABLES) -> Template:
    """Take `source`, which may read the variables `allowed`.

    Raises:
        TemplateError: Its syntax is wrong, or it names a variable, filter or test that does not exist.
    """
    variables = _variables(source)
    unknown = sorted(variables.difference(allowed))
    if unknown:
        raise TemplateError(
            f"the template reads {', '.join(unknown)}, unknown here; there is {', '.join(sorted(allowed))}"
        )
    return Template(source, variables)


def parts_read(template: Template) -> frozenset[tuple[str, str]]:
    """What a template reads of `labels` and `values`, where that is written out: `("labels", "feature")`."""
    tree = _ENVIRONMENT.parse(_plain(template.source))
    named = [(each.node, each.attr) for each in tree.find_all(jinja2.nodes.Getattr)] + [
        (each.node, each.arg.value)
        for each in tree.find_all(jinja2.nodes.Getitem)
        if isinstance(each.arg, jinja2.nodes.Const)
    ]
    return frozenset(
        (of.name, str(part))
        for of, part in named
        if isinstance(of, jinja2.nodes.Name) and of.name in {"labels", "values"}
    )


# Reading a file of many rules takes as long as its templates do: constants need no parser, what is written
# often is parsed once, and code is made when a text is first rendered, which for most rules is never.
@lru_cache(_REMEMBERED)
def _variables(source: str) -> frozenset[str]:
    if "{" not in source:
        return frozenset()
    try:
        return frozenset(jinja2.meta.find_undeclared_variables(_ENVIRONMENT.parse(_plain(source))))
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"is not a valid template: {error.message}") from error


@lru_cache(_REMEMBERED)
def _compiled(source: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(_plain(source))


def _rendered(source: str, values: Mapping[str, Any]) -> str:
    try:
        return _compiled(source).render(values)
    except Exception as error:  # noqa: BLE001  # data decides what fails here, and the alert must go out
        return f"<template {source!r} failed: {error}>"


@lru_cache(_REMEMBERED)
def _constant(source: str) -> str:
    return _rendered(source, {})


def _plain(source: str) -> str:
    return _BLOCK.sub(lambda block: _DOLLAR.sub("", block.group()), source)


def constant(text: str) -> Template:
    """A text without holes, whatever it looks like."""
    return compile_template(f"{{{{ {json.dumps(text)} }}}}", ())


def humanize(value: float) -> str:
    """Write a number with four digits and an SI prefix: 1234567 is `1.235M`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.4g}"
    scaled, prefix = _scaled(value)
    return f"{scaled:.4g}{prefix}"


def humanize_percentage(value: float) -> str:
    """Write a share as percentage with four digits: 0.12345 is `12.35%`."""
    return f"{value * 100:.4g}%"


def humanize_duration(value: float | timedelta) -> str:
    """Write seconds, or a time difference, in words: 93784 is `1d 2h 3m 4s`."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not math.isfinite(seconds):
        return f"{seconds:.4g}"
    if abs(seconds) < 60:
        scaled, prefix = _scaled(seconds) if 0 < abs(seconds) < 1 else (seconds, "")
        return f"{scaled:.4g}{prefix}s"
    minutes, rest = divmod(int(abs(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")]
    while parts[0][0] == 0:
        parts.pop(0)
    return ("-" if seconds < 0 else "") + " ".join(f"{count}{unit}" for count, unit in parts)


def format_date(value: datetime, form: str = "%Y-%m-%d %H:%M") -> str:
    """Write a time (UTC) in the form of `strftime`."""
    return value.strftime(form)


def _scaled(value: float) -> tuple[float, str]:
    """Bring a number other than zero to 1 ≤ |n| < 1000 as far as SI prefixes reach."""
    prefix = ""
    steps = (
        ("k", "M", "G", "T", "P", "E", "Z", "Y")
        if abs(value) >= 1
        else ("m", "u", "n", "p", "f", "a", "z", "y")
    )
    for step in steps:
        if 1 <= abs(value) < 1000:
            break
        prefix = step
        value = value / 1000 if steps[0] == "k" else value * 1000
    return value, prefix


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which `labels.items` is the label called `items`, not a method of dictionaries."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping):
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)


def _environment() -> _Environment:
    environment = _Environment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # the texts are plain text; whoever puts them into HTML escapes them
    )
    environment.globals.clear()
    environment.filters.update(
        humanize=humanize,
        humanizePercentage=humanize_percentage,
        humanizeDuration=humanize_duration,
        date=format_date,
    )
    return environment


_ENVIRONMENT: Final = _environment()
