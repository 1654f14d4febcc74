"""Values of a field side by side on a model's page: by hour from counts, and from rows, the same numbers."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers.metrics import START, Measured
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.description import ModelDescription, Task
from lapwing_collector.web.pages import model
from lapwing_collector.web.panels import Arguments
from lapwing_collector.web.span import Span

PANELS = {panel.name: panel for panel in model.PAGE.panels}
DAY = Span.of({"from": START.isoformat(), "to": (START + timedelta(days=1)).isoformat()}, START)
HOUR = Span.of({"from": START.isoformat(), "to": (START + timedelta(hours=1)).isoformat()}, START)
ROWS = 600


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    made = Measured()
    yield made
    made.close()


@pytest.fixture(scope="module")
def frame(measured: Measured) -> pd.DataFrame:
    """Ten hours of predictions for three plans, one of which fails more, is slower and scores higher."""
    draw = np.random.default_rng(1)
    plan = draw.choice(["basic", "plus", "it's"], ROWS)
    odd = plan == "it's"
    found = pd.DataFrame(
        {
            "time": [START + timedelta(minutes=each) for each in range(ROWS)],
            "version": draw.choice(["1", "2"], ROWS),
            "inputs.plan": plan,
            "output.score": draw.random(ROWS) / 2 + odd / 2,
            "output.value": np.where(draw.random(ROWS) < 0.5, "x", "y"),
            "duration_ms": draw.lognormal(2 + odd, 0.3),
            "error_type": np.where(draw.random(ROWS) < 0.1 + odd * 0.3, "ValueError", None),
        }
    )
    truth = [{"prediction_id": str(at), "label": "x"} for at in range(ROWS)]
    measured.put("m", found, truth, ModelDescription(task=Task.CLASSIFICATION, segments=("inputs.plan",)))
    measured.profile("m", segments=["inputs.plan"])
    return found


def rows_of(measured: Measured, name: str, span: Span, **asked: str) -> pd.DataFrame:
    query = PANELS[name].make(Arguments(span, "m", "m", {"split": "inputs.plan", **asked}))
    return pd.DataFrame(measured.rows(query.sql, **query.parameters))


@pytest.mark.parametrize("span", [DAY, HOUR], ids=["counts", "rows"])
def test_calls_are_told_apart(measured: Measured, frame: pd.DataFrame, span: Span) -> None:
    """Each value has its calls and the share that failed, as pandas counts them, and its own latency."""
    told = rows_of(measured, "model/parts", span)
    within = frame[frame["time"] < span.until]
    calls = told.groupby("part")["predictions"].sum()
    assert calls.to_dict() == within.groupby("inputs.plan").size().to_dict()
    failed = (told["predictions"] * told["error_share"]).groupby(told["part"]).sum()
    expected = within["error_type"].notna().groupby(within["inputs.plan"]).sum()
    assert failed.to_dict() == pytest.approx(expected.to_dict())
    slow = told.groupby("part")["p95"].median()
    assert slow.idxmax() == "it's"


@pytest.mark.parametrize("span", [DAY, HOUR], ids=["counts", "rows"])
def test_means_are_told_apart(measured: Measured, frame: pd.DataFrame, span: Span) -> None:
    """Each value has its mean, as pandas has it."""
    told = rows_of(measured, "model/part-mean", span, field="output.score")
    within = frame[frame["time"] < span.until]
    total = (told["mean"] * told["sample_count"]).groupby(told["part"]).sum()
    mean = total / told.groupby("part")["sample_count"].sum()
    assert mean.to_dict() == pytest.approx(within.groupby("inputs.plan")["output.score"].mean().to_dict())


def test_quality_is_told_apart(measured: Measured, frame: pd.DataFrame) -> None:
    """Each value has its own accuracy."""
    told = rows_of(measured, "model/quality", DAY, metric="accuracy")
    right = (told["value"] * told["sample_count"]).groupby(told["part"]).sum()
    expected = (frame["output.value"] == "x").groupby(frame["inputs.plan"]).sum()
    assert right.to_dict() == pytest.approx(expected.to_dict())


@pytest.mark.parametrize("span", [DAY, HOUR], ids=["counts", "rows"])
def test_of_one_version_its_calls_alone_are_told(measured: Measured, frame: pd.DataFrame, span: Span) -> None:
    """Where a version is chosen, calls, means and quality are those of its predictions alone."""
    chosen = frame[(frame["time"] < span.until) & (frame["version"] == "2")]
    by_plan = chosen.groupby("inputs.plan")
    parts = rows_of(measured, "model/parts", span, version="2")
    assert parts.groupby("part")["predictions"].sum().to_dict() == by_plan.size().to_dict()
    mean = rows_of(measured, "model/part-mean", span, field="output.score", version="2")
    total = (mean["mean"] * mean["sample_count"]).groupby(mean["part"]).sum()
    assert total.to_dict() == pytest.approx(by_plan["output.score"].sum().to_dict())
    right = (chosen["output.value"] == "x").sum()
    for split in ("inputs.plan", ""):
        told = rows_of(measured, "model/quality", span, metric="accuracy", version="2", split=split)
        assert (told["value"] * told["sample_count"]).sum() == pytest.approx(right)
        assert ("part" in told) == bool(split)


def test_what_is_told_apart_has_to_be_said() -> None:
    """Without a field the panel says what to add."""
    asked: dict[str, Any] = {}
    for name in ("model/parts", "model/part-mean"):
        with pytest.raises(DecodeError, match="say which model and"):
            PANELS[name].make(Arguments(DAY, "m", "m", asked))
