"""Evaluations and reports as one file of HTML each: no script, no other host, nothing that data could do."""

from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lapwing_collector.gate import words
from lapwing_collector.gate.charts import svg
from lapwing_collector.gate.values import Cell, Chart, Check, Comparison, Evaluation, Outcome, Report
from lapwing_collector.logs import escaped

_PACKAGE: Final = "lapwing_collector.gate"
_LONGEST_SQL: Final = 20_000


def evaluation_page(evaluation: Evaluation) -> str:
    """An evaluation as a page that stands for itself."""
    told = (side for check in evaluation.checks for side, value in check.sides.items() if value is not None)
    beside = list(dict.fromkeys(told))
    first = [*evaluation.stops, *evaluation.warnings]
    checks = [*first, *(check for check in evaluation.checks if check not in first)]
    return _environment().get_template("evaluation.html").render(run=evaluation, beside=beside, checks=checks)


def report_page(report: Report) -> str:
    """A report as a page that stands for itself."""
    return _environment().get_template("report.html").render(run=report)


def style_sheet() -> str:
    """What pages look like."""
    return resources.files(_PACKAGE).joinpath("templates/gate.css").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_seen,
    )
    made.filters |= {
        "cell": words.cell,
        "interval": _interval,
        "labels": words.labels,
        "moment": words.moment,
        "numeric": _numeric,
        "rows": _rows,
        "side": words.side,
        "summary": words.summary,
        "svg": _picture,
        "text": lambda text: escaped(text[:_LONGEST_SQL], keep="\\\n\t"),
        "title": words.title,
        "tone": _tone,
        "word": words.word,
    }
    made.globals["css"] = Markup(style_sheet())  # noqa: S704  # a file of this package
    return made


def _seen(value: Any) -> Any:
    """What no template has shown as what it is: control characters steer nothing wherever they come from."""
    is_plain = isinstance(value, str) and not isinstance(value, Markup)
    return escaped(value, keep="\\\n\t") if is_plain else value


def _numeric(rows: Sequence[Sequence[Cell]]) -> set[int]:
    """The places of columns that hold numbers."""
    return {
        at
        for row in rows
        for at, each in enumerate(row)
        if isinstance(each, int | float) and not isinstance(each, bool)
    }


def _picture(chart: Chart) -> Markup:
    return Markup(svg(chart))  # noqa: S704  # it escapes each text


def _rows(chart: Chart) -> list[list[Any]]:
    """The numbers of a chart, a row for each position."""
    positions = list(dict.fromkeys(at for line in chart.lines for at in line.x))
    values: list[dict[Cell, Any]] = [dict(zip(line.x, line.y, strict=True)) for line in chart.lines]
    return [[at, *(each.get(at) for each in values)] for at in positions[:200]]


def _interval(told: Check | Comparison) -> str:
    return words.interval(told.low, told.high)


def _tone(check: Check, evaluation: Evaluation) -> str:
    if check.outcome in {Outcome.PASSED, Outcome.RECORDED}:
        return "good" if check.outcome is Outcome.PASSED else "dim"
    return "bad" if check in evaluation.stops else "odd"
