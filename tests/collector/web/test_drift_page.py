"""The page of drift: the worst first, broken data before all, and what to do without a reference."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from helpers.drift import Profiled
from helpers.metrics import START
from helpers.query_lake import make_lake, readers
from helpers.web_server import web_server
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.queries import Ask, Format
from lapwing_collector.query.render import render
from lapwing_collector.web.pages import drift
from lapwing_collector.web.panels import Arguments, axis, load_panels
from lapwing_collector.web.span import Span

SPAN = Span.of({"from": START.isoformat(), "to": (START + timedelta(days=1)).isoformat()}, START)


@pytest.fixture(scope="module")
def model() -> Iterator[Profiled]:
    """Three fields: one moved, one is as it was, and one is missing more often than it was."""
    made = Profiled()
    made.put("m", [{"inputs.x": 1.0}])
    draw = np.random.default_rng(1)
    was = {f"inputs.{name}": draw.normal(size=5000) for name in ("moved", "same", "gone")}
    now: dict[str, Any] = {field: draw.normal(size=2000) for field in was}
    now["inputs.moved"] = now["inputs.moved"] + 2
    now["inputs.gone"] = [
        None if number % 10 == 0 else value for number, value in enumerate(now["inputs.gone"])
    ]
    for field, values in was.items():
        made.bins(field, values)
    made.connection.execute("UPDATE binnings SET created_from = 'rows'")
    made.keep(was)
    made.count(now)
    yield made
    made.close()


def look(model: Profiled, lines: Sequence[Mapping[str, Any]] = (), **asked: str) -> Any:
    """What the page shows of the model, with lines of rules."""

    def rows(sql: str, **parameters: Any) -> list[dict[str, Any]]:
        return model.rows(sql, **parameters)

    told = {"inputs.moved": 0.0, "inputs.same": 0.0, "inputs.gone": 0.1}
    view = SimpleNamespace(
        asked=asked,
        span=SPAN,
        table=lambda: "m",
        rows=rows,
        beside=lambda sql, **parameters: nullcontext(lambda: rows(sql, **parameters)),
        panel_rows=lambda _: [
            {"field": field, "missing": now, "missing_in_reference": 0.0, "in_no_bin": 0.0}
            for field, now in told.items()
        ],
        read=lambda _, **__: lines,
    )
    return drift.show(view)  # type: ignore[arg-type]  # the part of a view that the page uses


def test_the_worst_comes_first(model: Profiled) -> None:
    """A field that moved stands first with its distance over time, and is the one that is drawn."""
    shown = look(model)
    fields = {each["field"]: each for each in shown["fields"]}
    assert next(iter(fields)) == shown["chosen"] == "inputs.moved"
    assert (shown["judged"], shown["problem"]) == (3, "")
    first, same = fields["inputs.moved"], fields["inputs.same"]
    assert (first["drifted"], same["drifted"]) == (1, 0)
    assert max(each for each in first["recent"] if each is not None) > 0.5
    assert [dict(chart.asked)["field"] for chart in shown["charts"]] == ["inputs.moved"] * 2
    assert look(model, field="inputs.same")["chosen"] == "inputs.same"


def test_the_distance_is_told_by_what_a_rule_judges(model: Profiled) -> None:
    """A rule's measure is drawn with its line; without one it is the usual distance, or what is asked."""
    line = {
        "rule": "g/Far",
        "name": "Far",
        "bounds": [{"column": "value", "sign": ">", "number": 0.75}],
        "window_s": 86400.0,
        "metric": "psi",
        "fields": ["inputs.*"],
        "only": {"field": ["inputs.moved"]},
        "recorded_as": [],
    }
    drawn = {
        field: look(model, [line], field=field)["charts"][0] for field in ("inputs.moved", "inputs.same")
    }
    assert [dict(chart.asked)["measure"] for chart in drawn.values()] == ["psi", "js_distance"]
    assert [[each.label for each in chart.thresholds] for chart in drawn.values()] == [
        ["Far"],
        ["usual threshold"],
    ]
    chosen = look(model, [line], field="inputs.moved", measure="hellinger")["charts"][0]
    assert dict(chosen.asked)["measure"] == "hellinger"
    (panel,) = drift.PAGE.panels
    for measure in ("psi", "hellinger", "total_variation", "kl_divergence", "wasserstein_binned"):
        query = panel.make(Arguments(SPAN, "m", "m", {"field": "inputs.moved", "measure": measure}))
        assert max(row["distance"] for row in model.rows(query.sql, **query.parameters)) > 0.5
    with pytest.raises(DecodeError, match="there is no measure 'x'"):
        panel.make(Arguments(SPAN, "m", "m", {"field": "inputs.moved", "measure": "x"}))


def test_broken_data_is_told_before_drift(model: Profiled) -> None:
    """Fields that are missing more often than in the reference are named by themselves."""
    assert [each["field"] for each in look(model)["broken"]] == ["inputs.gone"]


def test_the_distance_that_is_drawn_is_that_of_the_library(model: Profiled) -> None:
    """The chart's rows are those of js_distance in steps of the small curves."""
    (panel,) = drift.PAGE.panels
    query = panel.make(Arguments(SPAN, "m", "m", {"field": "inputs.moved"}))
    drawn = model.rows(query.sql, **query.parameters)
    assert query.step == drift.step_of(SPAN) == timedelta(hours=1)
    whole = model.rows(
        "FROM js_distance('m', $since, $until, fields := 'inputs.moved', every := INTERVAL 1 HOUR)",
        since=SPAN.since,
        until=SPAN.until,
    )
    assert [(row["time"], row["distance"]) for row in drawn] == [
        (row["window_start"], row["value"]) for row in whole
    ]


def test_the_distance_that_is_written_into_the_page_is_what_its_panel_answers(model: Profiled) -> None:
    """Where the small curves have the distance already it is not asked for again; else it is."""
    (panel,) = drift.PAGE.panels
    query = panel.make(Arguments(SPAN, "m", "m", {"field": "inputs.moved"}))
    ask = Ask(query.sql, query.parameters, Format.COLUMNS)
    written = look(model)["written"]
    rows = model.connection.execute(query.sql, dict(query.parameters)).to_arrow_reader()
    answer = json.loads(b"".join(render(rows, ask).data))
    assert json.loads(json.dumps(written["data"])) == answer
    assert written["axis"] == axis(SPAN, query.step)
    assert look(model, measure="psi")["written"] is None


def test_without_a_reference_it_says_how_to_make_one(tmp_path: Any) -> None:
    """A model that has nothing to be compared with has a page that says which commands change that."""
    with readers(make_lake(tmp_path / "lake")) as shared, web_server(shared, tmp_path) as web:
        page = web.get("/model/drift?name=churn").body.decode()
    assert "lapwing reference set churn train --from train.parquet" in page


def test_every_chart_is_of_the_reference_that_is_chosen(model: Profiled) -> None:
    """With another reference chosen, distance and distribution are both told against that one."""
    model.keep({"inputs.moved": np.full(500, 1.0)}, "ones", version=0)
    shown = look(model, reference="ones")
    assert [dict(chart.asked).get("reference") for chart in shown["charts"]] == ["ones"] * 2
    panel = load_panels()["model/distribution"]
    most = {}
    for name in ("train", "ones"):
        query = panel.make(Arguments(SPAN, "m", "m", {"field": "inputs.moved", "reference": name}))
        most[name] = max(row["reference_share"] for row in model.rows(query.sql, **query.parameters))
    assert most["ones"] == 1 > most["train"]
