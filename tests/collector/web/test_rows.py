"""Rows of predictions: narrowed by the address, by what alerts link to, and one by one."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.batches import START, labels, predictions
from helpers.query_lake import readers
from helpers.web_server import Web, web_server
from lapwing_collector.app.judging.briefing import filters_of
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.model.description import Feature, ModelDescription, Task
from lapwing_collector.web.pages.narrowing import HOWS, Filter, told_in_full
from lapwing_collector.web.pages.rows import _is_right
from lapwing_collector.web.rendering import nested

HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J\u202e'\"{{7*7}}"
SPAN = {"name": "shop", "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:00:00Z"}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A model with 150 predictions in an hour, one of which is hostile in every field."""
    folder = tmp_path_factory.mktemp("rows")
    lake = Lake.open(folder / "lake", profiling=PROFILING)
    rows = [
        {
            "time": START + timedelta(seconds=20 * i),
            "prediction_id": f"p{i:03}",
            "version": "1" if i < 100 else "2",
            "duration_ms": i / 10,
            "error_type": "ValueError" if i % 50 == 49 else None,
            "error_message": "no such plan" if i % 50 == 49 else None,
            "request_id": f"r{i}",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "tags": [("region", "eu" if i % 3 else "us")],
            "inputs.plan": "***" if i == 5 else ["a", "b"][i % 2],
            "inputs.age": i,
            "inputs.items": [i, i + 1],
            "output.score": i / 150,
        }
        for i in range(150)
    ]
    rows.append(
        {
            "time": START + timedelta(minutes=59),
            "prediction_id": HOSTILE,
            "version": HOSTILE,
            "error_type": HOSTILE,
            "error_message": HOSTILE,
            "tags": [(HOSTILE, HOSTILE)],
            "resource": [(HOSTILE, HOSTILE)],
            "inputs.plan": HOSTILE * 400,
            "extra": None,
        }
    )
    rows.append(
        {
            "time": START + timedelta(minutes=30),
            "prediction_id": "dark",
            "stage": "shadow",
            "request_id": "r90",
        }
    )
    lake.flush([predictions("shop", rows)], [], Progress(1, 0))
    at = START + timedelta(minutes=30)
    told = [
        {"prediction_id": "p090", "prediction_time": at, "label": label, "time": START + timedelta(days=day)}
        for day, label in enumerate(("wrong", HOSTILE))
    ]
    lake.flush([labels("shop", told)], [], Progress(2, 0))
    votes = [
        {"time": START, "prediction_id": name, "output.value": name != "no"} for name in ("yes", "no", "?")
    ]
    truths = [{"prediction_id": name, "prediction_time": START, "label": True} for name in ("yes", "no")]
    lake.flush([predictions("vote", votes), labels("vote", truths)], [], Progress(3, 0))
    described = ModelDescription(task=Task.CLASSIFICATION, prediction="output.value")
    row = {"model": "vote", "table_name": "vote", "described_at": START, "description": described.to_json()}
    row |= {"said": "{}", "facts": "{}", "logs_seen": 1}
    lake.add_rows({"model_descriptions": pa.Table.from_pylist([row])})
    lake.close()
    with readers(folder / "lake") as shared, web_server(shared, folder) as running:
        yield running


def page(web: Web, path: str = "/model/rows", **asked: str) -> str:
    answer = web.get(f"{path}?{urlencode(SPAN | asked)}", Accept="text/html")
    assert answer.status == 200, answer.body.decode()
    return answer.body.decode()


def ids(html: str) -> list[str]:
    return re.findall(r'class="code cut"[^>]*>([^<]*)<', html)


def of(numbers: range | list[int]) -> list[str]:
    return [f"p{i:03}" for i in sorted(numbers, reverse=True)]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"inputs.age": "7"}, [7]),
        ({"age": "7"}, [7]),
        ({"inputs.plan": "b", "version": "1", "inputs.age__max": "9"}, [1, 3, 7, 9]),
        ({"inputs.age__min": "140", "inputs.plan__not": "a"}, [141, 143, 145, 147, 149]),
        ({"tags.region": "us", "inputs.age__max": "7"}, [0, 3, 6]),
        ({"error_type__missing": "no", "version": "2"}, [149]),
        ({"error_type__has": "value"}, [49, 99, 149]),
        ({"from": "2026-01-01T00:00:40Z", "to": "2026-01-01T00:01:20Z"}, [2, 3]),
        ({"inputs.plan": "x' OR 1=1 --"}, []),
    ],
)
def test_rows_are_narrowed_by_what_the_address_says(
    web: Web, asked: dict[str, str], expected: list[int]
) -> None:
    """Filters of every kind hold together; times are from the first inclusive to the last exclusive."""
    assert ids(page(web, **asked)) == of(expected)


def test_the_link_of_a_message_opens_exactly_the_rows(web: Web) -> None:
    """What a message links to, made of an alert's labels, shows the rows that the labels speak of."""
    described = ModelDescription(segments=("tags.region",), features={"inputs.plan": Feature()})
    alert = {
        "model": "shop",
        "alertname": "X",
        "severity": "page",
        "region": "us",
        "plan": "a",
        "version": "2",
    }
    told = filters_of(alert, described)
    assert told == {"tags.region": "us", "inputs.plan": "a", "version": "2"}
    html = page(web, **told)
    assert ids(html) == of([i for i in range(100, 150) if i % 3 == 0 and i % 2 == 0])
    assert "Not narrowed by" not in html
    about = page(web, **filters_of({"field": "inputs.age"}, described))
    assert 'class="number about"' in about
    assert "Not narrowed by <code>team</code>" in page(web, team="risk")


def test_pages_of_rows_follow_each_other(web: Web) -> None:
    """A hundred at a time, the newest first, none twice and none left out."""
    first = page(web, version="1", stage="production")
    assert ids(first) == of(range(100))
    everything = page(web, inputs__x="")
    found = ids(everything)
    (link,) = re.findall(r'href="([^"]*)" rel="next"', everything)
    rest = ids(web.get(unescape(link)).body.decode())
    assert len(found) == 100
    assert [*found[1:], *rest] == of(range(150))
    assert ids(page(web, stage="shadow")) == ["dark"]
    at, key = parse_qs(urlsplit(unescape(link)).query)["after"][0].split(" ")
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    elsewhere = moment.astimezone(timezone(timedelta(hours=2))).isoformat()
    assert ids(page(web, after=f"{elsewhere} {key}")) == rest
    far = f"/model/rows?{urlencode(SPAN | {'after': '9999-12-31T23:59:59.999999Z p'})}"
    assert web.get(far).status == 400


@given(
    field=st.text(st.sampled_from("abimnx_."), min_size=1).map("inputs.{}__min".format)
    | st.sampled_from(["inputs.x", "inputs.x__is", "inputs.x__is__not", "output.a__has"]),
    how=st.sampled_from(list(HOWS)),
)
def test_filters_told_in_full_are_those_that_were_asked(field: str, how: str) -> None:
    """A panel narrows as its page does, even where a field's name ends as a way to narrow does."""
    asked = Filter("as asked", field, how, "1")
    (found,) = told_in_full({asked.in_full: "1"}).filters
    assert (found.field, found.how) == (field, how)


def test_labels_say_whether_the_prediction_was_right(web: Web) -> None:
    """Classes are told apart by colour and in words; where the task is unknown none is right or wrong."""
    shown = page(web, name="vote")
    assert re.findall(r'<td><span class="(?:tag )?(\w*)"[^>]*>[^<]', shown) == ["none", "bad", "good"]
    assert shown.count('title="it predicted something else"') == 1
    assert '<span class="tag ">' in page(web, **{"inputs.age": "90"})


@pytest.mark.parametrize(
    ("predicted", "truth", "right"),
    [
        (1.0, 1, True),
        (True, 1, True),
        (False, 1, False),
        ("a", "a", True),
        ("a", "b", False),
        (True, "true", True),
        (True, "yes", None),
        (None, 1, None),
        (1, {"a": 1}, None),
    ],
)
def test_classes_are_compared_as_metrics_compare_them(predicted: Any, truth: Any, right: bool | None) -> None:
    """1, 1.0 and true are one class; what is of another kind may mean the same, and is not called wrong."""
    assert _is_right(predicted, truth) is right


def test_rows_can_be_sorted_and_filtered_by_a_form(web: Web) -> None:
    """A click on a head sorts; the form for a filter leads to the address with it."""
    assert ids(page(web, sort="inputs.age", version="2"))[:2] == ["p100", "p101"]
    assert ids(page(web, sort="-inputs.age", version="1"))[:2] == ["p099", "p098"]
    answer = web.get(f"/model/rows?{urlencode(SPAN | {'add': 'inputs.age', 'how': 'min', 'value': '9'})}")
    assert answer.status == 303
    assert "inputs.age__min=9" in answer.headers["Location"]
    assert web.get(f"/model/rows?{urlencode(SPAN | {'inputs.age__min': 'x'})}").status == 400
    assert web.get(f"/model/rows?{urlencode(SPAN | {'inputs.plan__min': '1'})}").status == 400
    assert web.get(f"/model/rows?{urlencode(SPAN | {'stage': 'x'})}").status == 400


def test_rows_can_be_taken_away(web: Web) -> None:
    """The download has the rows that are shown, all of them, with their labels."""
    html = page(web, age__min="148", region="eu")
    address = unescape(re.findall(r'href="([^"]*format=json)"', html)[0])
    assert [row["prediction_id"] for row in web.get(address).json] == ["p149", "p148"]
    labelled = page(web, age="90")
    address = unescape(re.findall(r'href="([^"]*format=json)"', labelled)[0])
    assert [row["label"] for row in web.get(address).json] == [HOSTILE]
    shadow = unescape(re.findall(r'href="([^"]*format=json)"', page(web, stage="shadow"))[0])
    assert [row["prediction_id"] for row in web.get(shadow).json] == ["dark"]


def test_facets_count_what_is_there(web: Web) -> None:
    """The part beside the rows tells how many there are and which values are frequent; a click narrows."""
    html = page(web, "/model/rows/facets", version="1")
    assert "<b>100</b> rows" in html
    assert re.findall(r'>(a|b)</a><span class="n">(\d+)<', html) == [("b", "49"), ("a", "50")][::-1]
    assert "inputs.plan=a" in html


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (2001, "2001"),
        (2001.0, "2001"),
        (1234567.8912, "1234567.8912"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e300, "1e+300"),
        (float("nan"), "NaN"),
        (True, "true"),
        ("2001", "2001"),
        ([1, 2.5], "[1, 2.5]"),
    ],
)
def test_values_of_a_record_are_told_as_they_are(value: object, told: str) -> None:
    """Numbers have all their digits and none but these: what is grouped by thousands is no year."""
    assert nested(value) == told


def test_one_record_tells_everything(web: Web) -> None:
    """Inputs, output, tags, every label, trace, and predictions for the same request."""
    at = (START + timedelta(seconds=1800)).isoformat()
    html = page(web, "/model/rows/record", id="p090", at=f"{at}Z", back="https://evil.example/")
    for text in ("p090", "0af7651916cd43dd8448eb211c80319c", "region", "wrong", "[90, 91]", "dark", "30 min"):
        assert text in html, text
    assert "evil.example" not in html.replace("back=https", "")
    assert 'title="taken out by redaction">***<' in page(web, "/model/rows/record", id="p005")
    assert web.get(f"/model/rows/record?{urlencode(SPAN | {'id': 'nobody'})}").status == 404


@pytest.mark.parametrize("path", ["/model/rows", "/model/rows/record", "/model/rows/facets", "/model", "/"])
def test_hostile_values_are_shown_harmlessly(web: Web, path: str) -> None:
    """HTML, scripts, templates and control characters of any field are text on every page."""
    html = page(web, path, id=HOSTILE, version=HOSTILE, back=HOSTILE, field=HOSTILE)
    assert "<img" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "49" not in re.findall(r"'\"(\d+)", html)
