"""Evaluations read back from the documents that were made of them."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from lapwing_collector.clock import read_utc
from lapwing_collector.gate.charts import svg
from lapwing_collector.gate.values import (
    Chart,
    Check,
    Comparison,
    Evaluation,
    Line,
    Outcome,
    Section,
    Side,
    Table,
    Verdict,
)

_Made = TypeVar("_Made")


def evaluation_of(document: Mapping[str, Any]) -> Evaluation:
    """The evaluation that `Evaluation.as_json` told of; what newer versions add is passed over.

    Raises:
        ValueError: It is no such document.
    """
    try:
        return _made(
            Evaluation,
            document,
            verdict=Verdict(document["verdict"]),
            started_at=_time(document["started_at"]),
            sides=[
                _made(Side, each, since=_time(each["since"]), until=_time(each["until"]))
                for each in document["sides"]
            ],
            checks=[_made(Check, each, outcome=Outcome(each["outcome"])) for each in document["checks"]],
            comparisons=[_made(Comparison, each) for each in document["comparisons"]],
            sections=[_section(each) for each in document["sections"]],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no evaluation: {error!r}") from error


def picture_of(chart: Mapping[str, Any]) -> str:
    """A chart of a document as one SVG element; empty where there is nothing to draw.

    Raises:
        ValueError: It is no chart.
    """
    try:
        return svg(_chart(chart))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no chart: {error!r}") from error


def _section(told: Mapping[str, Any]) -> Section:
    table = told["table"]
    return _made(
        Section,
        told,
        table=None if table is None else _made(Table, table),
        charts=[_chart(each) for each in told["charts"]],
    )


def _chart(told: Mapping[str, Any]) -> Chart:
    return _made(Chart, told, lines=[_made(Line, line) for line in told["lines"]])


def _made(kind: type[_Made], told: Mapping[str, Any], **read: Any) -> _Made:
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in told.items() if name in names} | read)


def _time(text: str | None) -> datetime | None:
    return None if text is None else read_utc(text)
