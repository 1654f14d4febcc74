"""The page Explore, its counts, measures and differences, against pandas and scipy."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from html import unescape
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon

from helpers.batches import START, predictions
from helpers.metrics import Measured
from helpers.query_lake import readers
from helpers.web_server import Web, web_server
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.errors import DecodeError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.model.description import Feature, FeatureType, ModelDescription
from lapwing_collector.web.pages import explore
from lapwing_collector.web.pages.narrowing import Column
from lapwing_collector.web.panels import Arguments, Query, load_panels
from lapwing_collector.web.span import Span

HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J\u202e'\"{{7*7}}$from {fields}"
ROWS = 3000
STEP = timedelta(hours=1)
ASKED = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-04T00:00:00Z"}
PANELS = {panel.name.removeprefix("explore/"): panel for panel in explore.PAGE.panels}


def frame() -> pd.DataFrame:
    """Three days; on the second, plans shift, ages rise and calls of version 2 fail."""
    draw = np.random.default_rng(3)
    time = pd.Timestamp(START) + pd.to_timedelta(np.sort(draw.uniform(0, 72 * 3600, ROWS)), unit="s").floor(
        "ms"
    )
    second = (time >= "2026-01-02") & (time < "2026-01-03")
    plan = np.where(second, draw.choice(["pro", HOSTILE], ROWS), draw.choice(["basic", "plus", None], ROWS))
    version = draw.choice(["1", "2"], ROWS)
    fails = second & (version == "2") & (draw.random(ROWS) < 0.4)
    return pd.DataFrame(
        {
            "time": time,
            "prediction_id": [f"p{number}" for number in range(ROWS)],
            "version": version,
            "error_type": np.where(fails, "ValueError", None),
            "inputs.plan": plan,
            "inputs.age": np.where(draw.random(ROWS) < 0.1, np.nan, draw.normal(40, 9, ROWS) + 15 * second),
            "inputs.seats": draw.integers(1, 6, ROWS),
            "inputs.city": [f"city {number}" for number in np.minimum(draw.geometric(0.03, ROWS), 70)],
            "output.value": draw.random(ROWS) < 0.3,
            "output.score": draw.random(ROWS),
        }
    )


FRAME = frame()
LABELS = FRAME.iloc[::2].assign(label=lambda rows: rows["output.score"] > 0.5)[["prediction_id", "label"]]


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    made = Measured()
    made.put("shop", FRAME, LABELS)
    made.profile("shop")
    yield made
    made.close()


def query(panel: str, **asked: str) -> Query:
    told = ASKED | asked
    return PANELS[panel].make(Arguments(Span.of(told, START), "shop", "shop", told))


def rows(measured: Measured, panel: str, **asked: str) -> list[dict[str, Any]]:
    made = query(panel, **asked)
    return measured.rows(made.sql, **made.parameters)


def counted(found: list[dict[str, Any]]) -> dict[tuple[str, str, Any, int], int]:
    """Rows of a cube as counts by dimension, kind, value and step."""
    return {
        (row["dimension"], row["kind"], row["value"], step): n
        for row in found
        for step, n in zip(row["steps"], row["counts"], strict=True)
    }


def expected(rows: pd.DataFrame, fields: list[str]) -> dict[tuple[str, str, Any, int], int]:
    """The same, by pandas: the 50 most frequent values, ties by name, the others together."""
    step = ((rows["time"] - pd.Timestamp(START)) // STEP).astype(int)
    found: dict[tuple[str, str, Any, int], int] = {
        ("", "all", None, at): n for at, n in step.value_counts().items()
    }
    for field in fields:
        values = rows[field].map(lambda value: str(value).lower() if isinstance(value, bool) else value)
        ranked = sorted(values.dropna().value_counts().items(), key=lambda each: (-each[1], each[0]))
        kept = {value for value, _ in ranked[:50]}
        for value, at in zip(values, step, strict=True):
            kind = "missing" if pd.isna(value) else "value" if value in kept else "other"
            key = (field, kind, value if kind == "value" else None, at)
            found[key] = found.get(key, 0) + 1
    return found


@pytest.mark.parametrize(
    ("panel", "asked", "fields"),
    [
        ("cube", {}, ["inputs.plan", "inputs.city", "output.value", "version", "error_type"]),
        ("cube", {"inputs.plan": HOSTILE, "inputs.age__min": "50"}, ["version", "inputs.city"]),
        ("cube", {"inputs.plan__missing": "yes"}, ["inputs.plan"]),
        ("counts", {}, ["inputs.plan", "output.value", "version"]),
        ("counts", {"version": "2"}, ["version", "inputs.plan"]),
        ("counts", {}, ["output.value"]),
    ],
)
def test_counts_by_step_and_value(
    measured: Measured, panel: str, asked: dict[str, str], fields: list[str]
) -> None:
    """Both ways of counting agree with pandas: every value in every step, filtered and not."""
    chosen = FRAME
    if "version" in asked:
        chosen = chosen[chosen["version"] == asked["version"]]
    if "inputs.plan" in asked:
        chosen = chosen[(chosen["inputs.plan"] == asked["inputs.plan"]) & (chosen["inputs.age"] >= 50)]
    if "inputs.plan__missing" in asked:
        chosen = chosen[chosen["inputs.plan"].isna()]
    found = rows(measured, panel, fields=json.dumps(fields), **asked)
    assert counted(found) == expected(chosen, fields)
    assert all(row["predictions"] == sum(row["counts"]) for row in found)


def test_measures_of_what_is_filtered(measured: Measured) -> None:
    """Failures, mean, median and accuracy of the filtered rows alone are those that pandas finds."""
    asked = {"inputs.plan": HOSTILE, "version": "2"}
    chosen = FRAME[(FRAME["inputs.plan"] == HOSTILE) & (FRAME["version"] == "2")]
    hours = chosen.groupby(chosen["time"].dt.floor("h"))
    calls = {row["time"]: row for row in rows(measured, "calls", **asked)}
    values = {row["time"]: row for row in rows(measured, "values", field="output.score", **asked)}
    assert len(calls) == len(hours) == 24
    for hour, part in hours:
        assert calls[hour]["predictions"] == len(part)
        assert calls[hour]["error_share"] == pytest.approx(part["error_type"].notna().mean())
        assert values[hour]["mean"] == pytest.approx(part["output.score"].mean())
        assert values[hour]["median"] == pytest.approx(part["output.score"].median())
    told = chosen.merge(LABELS, on="prediction_id")
    windows = told.groupby((told["time"] - pd.Timestamp(START)) // timedelta(hours=3))
    found = rows(measured, "quality", metric="accuracy", **asked)
    assert [row["value"] for row in found] == pytest.approx(
        [(part["output.value"] == part["label"]).mean() for _, part in windows]
    )


def test_mean_and_median_by_hour(measured: Measured) -> None:
    """Of all rows, means by hour are exact, and medians as exact as bins are: numbers with one each are."""
    spread = load_panels()["explore/spread"]
    hours = FRAME.groupby(FRAME["time"].dt.floor("h"))
    for field in ("output.score", "inputs.age", "inputs.seats"):
        asked = ASKED | {"field": field}
        made = spread.make(Arguments(Span.of(asked, START), "shop", "shop", asked))
        found = {row["time"]: row for row in measured.rows(made.sql, **made.parameters)}
        (bins,) = measured.rows("SELECT edges FROM binnings WHERE field = $field", field=field)
        edges = np.array([-np.inf, *bins["edges"], np.inf])
        assert len(found) == len(hours)
        for hour, part in hours:
            values = part[field].dropna()
            middle = np.percentile(values, 50, method="inverted_cdf")
            place = np.searchsorted(edges, middle, side="right")
            told = found[hour]
            assert told["mean"] == pytest.approx(values.mean())
            assert told["predictions"] == len(values)
            if field == "inputs.seats":
                assert told["median"] == middle
            else:
                assert edges[place - 1] <= told["median"] <= edges[place]


def test_long_ranges_are_told_by_counts(measured: Measured) -> None:
    """All rows of a day and more are told by counts by hour; some of them, or an hour, by rows."""

    def panels(**asked: str) -> list[str]:
        told = asked if "last" in asked else ASKED | asked
        view = SimpleNamespace(
            asked=told,
            span=Span.of(told, START + timedelta(days=3)),
            model="shop",
            table=lambda: "shop",
            description=lambda: ModelDescription(score="output.score"),
            sources=SimpleNamespace(rows=lambda sql: measured.connection.sql(sql).to_arrow_table()),
            rows=measured.rows,
            link=lambda *_, **__: "",
            panel=lambda name, **_: name,
        )
        shown = explore.show(view)  # type: ignore[arg-type]  # the part of a view that the page uses
        return [*(chart.panel for chart in shown["charts"]), *shown["told"]["cubes"]]

    by_hour = ["model/traffic", "model/service", "explore/spread", "explore/counts", "explore/cube"]
    assert panels() == by_hour
    assert panels(version="2") == by_hour
    assert panels(last="1h")[2:] == ["explore/values", "explore/cube"]
    assert panels(plan="pro") == ["explore/calls", "explore/calls", "explore/values", "explore/cube"]


def shares(selected: pd.Series, rest: pd.Series, ranges: bool) -> tuple[list[float], list[float]]:
    """Shares of both sides in the bins that the metric says it has."""
    both = pd.concat([selected, rest])
    if ranges:
        values = np.sort(both.dropna().to_numpy())
        places = np.ceil(np.arange(1, 10) / 10 * len(values)).astype(int) - 1
        edges = np.unique(values[places])
        sides = [np.searchsorted(edges, side.dropna(), side="right") for side in (selected, rest)]
        counts = [[*np.bincount(side, minlength=len(edges) + 1)] for side in sides]
    else:
        ranked = sorted(both.dropna().value_counts().items(), key=lambda each: (-each[1], each[0]))
        names = [value for value, _ in ranked]
        counts = [[int((side == name).sum()) for name in names] for side in (selected, rest)]
        counts = [[*side[:20], sum(side[20:])] for side in counts]
    counts[0].append(int(selected.isna().sum()))
    counts[1].append(int(rest.isna().sum()))
    p, q = (np.array(side) / sum(side) for side in counts)
    return p.tolist(), q.tolist()


@pytest.mark.parametrize(
    ("asked", "is_selected"),
    [
        (
            {"within": "2026-01-02T00:00:00Z/2026-01-03T00:00:00Z"},
            (FRAME["time"] >= "2026-01-02") & (FRAME["time"] < "2026-01-03"),
        ),
        ({"version": "2"}, FRAME["version"] == "2"),
        (
            {
                "inputs.plan": HOSTILE,
                "inputs.age__max": "50",
                "within": "2026-01-02T06:00:00Z/2026-01-02T18:00:00Z",
            },
            (FRAME["inputs.plan"] == HOSTILE)
            & (FRAME["inputs.age"] <= 50)
            & (FRAME["time"] >= "2026-01-02 06:00")
            & (FRAME["time"] < "2026-01-02 18:00"),
        ),
    ],
)
def test_what_differs(measured: Measured, asked: dict[str, str], is_selected: "pd.Series[bool]") -> None:
    """Each field's distance is scipy's over counts by pandas, and the most different field comes first."""
    found = rows(measured, "delta", **asked)
    assert [row["value"] for row in found] == sorted((row["value"] for row in found), reverse=True)
    told = {row["field"]: row for row in found}
    assert set(told) == set(FRAME) - {"time", "prediction_id"}
    for field, row in told.items():
        assert row["sample_count"] == is_selected.sum()
        assert row["reference_count"] == (~is_selected).sum()
        p, q = shares(FRAME[field][is_selected], FRAME[field][~is_selected], "range" in row["kinds"])
        assert row["value"] == pytest.approx(jensenshannon(q, p), abs=1e-9), field
        assert sorted(filter(None, row["shares"])) == pytest.approx(sorted(filter(None, p)))
        assert sorted(filter(None, row["reference_shares"])) == pytest.approx(sorted(filter(None, q)))
    assert "range" in told["inputs.age"]["kinds"]
    assert told["inputs.seats"]["labels"] == ["1", "2", "3", "4", "5"]


def test_a_sample_is_the_same_each_time(measured: Measured) -> None:
    """Of large sides about as many rows are looked at as asked for, and always the same."""
    call = "FROM event_delta('shop', $a, $b, version = '2' AND inputs.age > 40, samples := 300)"
    span = {"a": START, "b": START + timedelta(days=3)}
    first, second = measured.rows(call, **span), measured.rows(call, **span)
    assert first == second
    whole = {row["field"]: row for row in measured.rows(call.replace("300", "10000"), **span)}
    for row in first:
        assert 220 < row["sampled"] < 380
        assert 220 < row["reference_sampled"] < 380
        assert row["value"] == pytest.approx(whole[row["field"]]["value"], abs=4 * row["by_chance"])


def test_little_says_nothing(measured: Measured) -> None:
    """A few selected rows are told as too few; asking without a selection is a mistake."""
    found = rows(measured, "delta", **{"inputs.city": "city 69", "inputs.plan": "nobody's"})
    assert all(row["value"] is None and row["reason"] == "fewer than 10 rows are selected" for row in found)
    with pytest.raises(DecodeError, match="what is to be compared"):
        query("delta")


@pytest.mark.parametrize(
    ("panel", "asked", "words"),
    [
        ("cube", {"fields": "inputs.plan"}, "a list of names"),
        ("cube", {"fields": json.dumps(["a"] * 9)}, "up to 8"),
        ("cube", {"fields": json.dumps(['"'])}, "expected"),
        ("counts", {"inputs.plan": "pro"}, "by version alone"),
        ("quality", {"metric": "x('y')"}, "known are accuracy, mae"),
        ("values", {}, "which field"),
        ("delta", {"within": "yesterday"}, "expected a time"),
    ],
)
def test_nonsense_is_refused(panel: str, asked: dict[str, str], words: str) -> None:
    """What cannot be counted is told before anything is asked."""
    with pytest.raises(DecodeError, match=words):
        query(panel, **asked)


def test_dimensions_are_what_tells_rows_apart() -> None:
    """Segments and versions come first, then classes and categories; numbers that are predicted are none."""
    described = ModelDescription(
        prediction="output.price",
        segments=("tags.region",),
        features={
            "inputs.plan": Feature(type=FeatureType.CATEGORY),
            "inputs.age": Feature(type=FeatureType.NUMBER),
        },
    )
    kinds = {"version": "text", "environment": "text", "inputs.age": "number", "inputs.plan": "text"}
    kinds |= {"inputs.note": "text", "output.price": "number", "output.ok": "bool", "error_type": "text"}
    columns = [Column(name, kind) for name, kind in kinds.items()]
    assert explore.dimensions_of(described, columns) == [
        "tags.region", "version", "error_type", "inputs.plan", "output.ok", "inputs.note", "environment",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A day of a model with a hostile value, a hostile field and more fields than are shown."""
    folder = tmp_path_factory.mktemp("explore")
    lake = Lake.open(folder / "lake", profiling=PROFILING)
    made = [
        {
            "time": START + timedelta(minutes=number),
            "prediction_id": f"p{number}",
            "version": "1",
            "inputs.plan": HOSTILE if number % 4 == 0 else "basic",
            f"inputs.{'x' * 3}": HOSTILE * 40 if number % 2 else "short",
            **{f"inputs.c{place}": "ab"[number % 2] for place in range(8)},
            "output.score": (number % 10) / 10,
        }
        for number in range(240)
    ]
    lake.flush([predictions("shop", made)], [], Progress(1, 0))
    lake.close()
    now = datetime(2026, 1, 2)
    with readers(folder / "lake") as shared, web_server(shared, folder, now=lambda: now) as running:
        yield running


def page(web: Web, path: str = "/model/explore", **asked: str) -> str:
    answer = web.get(f"{path}?{urlencode({'name': 'shop'} | asked)}", Accept="text/html")
    assert answer.status == 200, answer.body.decode()
    return answer.body.decode()


def told(html: str) -> Any:
    return json.loads(unescape(re.search(r'data-explore="([^"]*)"', html)[1]))  # type: ignore[index]


def test_the_page_says_where_counts_are(web: Web) -> None:
    """It names the fields that are shown and that there are more, and its addresses answer for them."""
    html = page(web)
    shown = [unescape(name) for name in re.findall(r'data-dimension="([^"]*)"', html)]
    assert len(shown) == 8
    assert re.search(r"8 of 1\d fields, up to 50 values each", html)
    further = re.findall(r"<option>(inputs\.[^<]*)</option>", html)
    assert further
    assert further[-1] in re.findall(r'data-dimension="([^"]*)"', page(web, **{"with": further[-1]}))
    answers = [web.get(f"{address}&format=json").json for address in told(html)["cubes"]]
    assert {row["dimension"] for each in answers for row in each} == {"", *shown}


def test_filters_are_in_every_address(web: Web) -> None:
    """A filter narrows counts, charts, rows and the comparison, and can be taken away."""
    html = page(web, plan=HOSTILE, last="24h")
    addresses = [*told(html)["cubes"], told(html)["rows"], told(html)["delta"]]
    addresses += [unescape(each) for each in re.findall(r'data-panel="([^"]*)"', html)]
    assert all(urlencode({"inputs.plan": HOSTILE}) in each for each in addresses), addresses
    assert told(html)["filters"] == [{"parameter": "plan", "name": "inputs.plan", "value": HOSTILE}]
    (all_rows,) = [
        row for row in web.get(f"{told(html)['cubes'][0]}&format=json").json if row["dimension"] == ""
    ]
    assert all_rows["predictions"] == 60
    assert "have no such field" in page(web, nonsense="1")


def test_what_differs_is_shown(web: Web) -> None:
    """Each field has its distance, bars, and where it is furthest apart; hostile data is text."""
    html = page(web, "/model/explore/delta", **{"inputs.plan": HOSTILE})
    assert "60 selected predictions beside the 180 others" in re.sub(r"<[^>]*>", "", html)
    assert re.search(r"inputs\.plan <span class=\"tag\">filtered", html)
    assert "<img src=x" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert 'class="like"' in html
    assert html.count('class="rest"') > 10
    assert "Drag over a chart" in page(web, "/model/explore/delta")
    assert "fewer than 10 rows are selected" in page(web, "/model/explore/delta", version="7")
    assert "<img src=x" not in page(web, **{"inputs.plan": HOSTILE, HOSTILE: HOSTILE})
