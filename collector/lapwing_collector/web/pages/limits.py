"""The lines that rules watch, on the charts of what they judge."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any, Final

from lapwing_collector.web.pages.charts import Threshold
from lapwing_collector.web.pages.page import View

_MOST: Final = 6
"""Lines of one chart; more are a grid."""
_SELF: Final = frozenset({"field", "quantile", "statistic"})
"""Columns of metrics by which a chart takes the rows that it draws; others take a part of the predictions."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers that rules on a model compare metrics with, as the document `thresholds` tells them."""

    told: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of(cls, view: View, table: str) -> "Limits":
        """Those of the rules on the model with these tables."""
        return cls(view.read("thresholds/{table:path}", table=table))

    def on(
        self, metric: str, *, window: timedelta | None = None, **columns: Iterable[str]
    ) -> tuple[Threshold, ...]:
        """The lines on a metric.

        Args:
            metric: Which.
            window: Only of rules that judge windows of this length, where a longer one has more by itself.
            columns: What the chart shows of the metric: `field=("inputs.age",)`, `quantile=("0.5", "0.95")`.
        """
        found = [
            each
            for each in self.told
            if each["metric"] == metric and _fits(each, columns) and _is_long(each, window)
        ]
        return _lines(found)

    def recorded(self, name: str) -> tuple[Threshold, ...]:
        """The lines on what a rule records: those of the rules that judge the same query."""
        return _lines(each for each in self.told if name in each["recorded_as"])

    def metrics(self, field: str) -> list[str]:
        """The metrics by which rules judge a field."""
        return [each["metric"] for each in self.told if _fits(each, {"field": (field,)})]


def _fits(told: Mapping[str, Any], columns: Mapping[str, Iterable[str]]) -> bool:
    only = told["only"]
    if told["metric"] is None or not only.keys() <= _SELF:
        return False
    fields = columns.get("field")
    if fields is not None and not _among(fields, told["fields"]):
        return False
    return all(name not in columns or set(columns[name]) & set(texts) for name, texts in only.items())


def _among(fields: Iterable[str], patterns: Sequence[str]) -> bool:
    """Whether one of the fields is meant; all are where there is no pattern."""
    return not patterns or any(fnmatchcase(field, pattern) for field in fields for pattern in patterns)


def _is_long(told: Mapping[str, Any], window: timedelta | None) -> bool:
    return window is None or told["window_s"] == window.total_seconds()


def _lines(told: Iterable[Mapping[str, Any]]) -> tuple[Threshold, ...]:
    lines = [
        Threshold(
            value=bound["number"],
            label=each["name"],
            rule=each["rule"],
            sign=bound["sign"],
            column="" if bound["column"] == "value" else bound["column"],
            over=each["window_s"],
        )
        for each in told
        for bound in each["bounds"]
    ]
    return tuple(lines[:_MOST])
