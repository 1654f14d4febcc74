"""Evaluations and reports as pages, texts and XML, whatever is in the data."""

import re
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.gate import (
    Advice,
    Chart,
    Check,
    Comparison,
    Evaluation,
    Line,
    Outcome,
    Report,
    Section,
    Side,
    Step,
    Table,
    Verdict,
    evaluation_page,
    junit_of,
    markdown_of,
    picture_of,
    report_page,
    report_text,
    text_of,
)

AT = datetime(2026, 3, 1, 12)

HOSTILE = [
    "<script>alert(1)</script>",
    "</style></title><img src=x onerror=alert(1)>",
    '"\' onmouseover="alert(1)',
    "{{ 7 * 7 }}{% for x in y %}",
    "a\x00b\x1b[31mred\x07\r\n\u202eback\ufffe",
    "| cell | `code` [link](javascript:alert(1)) ![i](http://x.example/p.png) @everyone",
    "]]><x/><!--",
    "x" * 100_000,
    "",
]

OWN = (
    "html head meta title style body h1 h2 p ul li div span table caption thead tbody tr th td code pre "
    "figure figcaption details summary svg line path polygon rect circle text"
)
"""The tags that templates and charts have."""


class Seen(HTMLParser):
    """What tags and attributes a page has, and the texts between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def evaluation(text: str) -> Evaluation:
    """An evaluation in which every text is from the data."""
    check = Check(
        rule=f"g/{text}",
        kind="alert",
        criticality="fail",
        outcome=Outcome.FAILED,
        labels={f"l{text}": text},
        conditions=[f"value > 1 -- {text}"],
        value=float("inf"),
        sides={"production": 0.5},
        text=text,
    )
    return Evaluation(
        id="i",
        model=text,
        version=text,
        verdict=Verdict.FAILED,
        started_at=AT,
        seconds=1.5,
        by=text,
        rules=[text],
        allow_insufficient=False,
        sides=[Side("candidate", text, 3, 2, [text], AT, AT)],
        checks=[check, replace(check, outcome=Outcome.ERROR, criticality="warn")],
        comparisons=[Comparison("m", "accuracy", "more", problem=text)],
        sections=[section(text)],
        notes=[text],
        lapwing="1",
    )


def section(text: str) -> Section:
    bars = Chart(text, "bars", [Line(text, [text, "b"], [1.0, None])], x=text, y=text)
    lines = Chart(
        text, "lines", [Line(text, [0, 1.0, 2], [0.1, 0.4, None], [0, 0, 0], [1, 1, 1])], diagonal=True
    )
    return Section(text, text, Table([text, "n"], [[text, 1.0], [None, True]]), [bars, lines], [text], text)


def report(text: str) -> Report:
    advice = Advice("retrain", text, [Step("Is it worse?", "yes", text)])
    return Report(text, AT, [Side("current", text)], [section(text)], advice, [text], "1")


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_the_data_becomes_part_of_a_page(text: str) -> None:
    """Pages have the tags that the templates have, no handler, no address, and no control character."""
    for page in (evaluation_page(evaluation(text)), report_page(report(text))):
        seen = Seen()
        seen.feed(page)
        assert seen.tags <= set(OWN.split())
        assert not {name for name in seen.attributes if name.startswith("on") or name in {"href", "src"}}
        assert "default-src 'none'" in page
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page)
        assert len(page) < 300_000
        assert "49" not in "".join(each for each in seen.texts if "7 * 7" in each)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_the_data_becomes_part_of_xml_or_markdown(text: str) -> None:
    """JUnit has its own elements only; in Markdown nothing is a link, a picture, a tag or a mention."""
    root = ET.fromstring(junit_of(evaluation(text)))
    assert {each.tag for each in root.iter()} <= {
        "testsuites", "testsuite", "testcase", "failure", "error", "skipped", "system-out",
    }  # fmt: skip
    lines = markdown_of(evaluation(text)).splitlines()
    columns = {line.replace("\\|", "").count("|") for line in lines if line.startswith("|")}
    assert columns <= {7}
    bare = re.sub(r"\\.", "", "\n".join(lines))
    assert not re.search(r"[<>`]|\]\(|@\w", bare)


@given(st.text())
def test_texts_for_terminals_are_lines_that_steer_nothing(text: str) -> None:
    """Whatever text the data has, no control character of it reaches a terminal."""
    for told in (text_of(evaluation(text)), report_text(report(text))):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", told)


def test_series_are_told_in_text_too() -> None:
    """What a page draws over time is a row on a terminal, under its heading; of several lines each."""
    traffic = Chart("Predictions", "times", [Line("predictions", ["a", "b", "c"], [10.0, None, 30.0])])
    latency = Chart("Duration in ms", "times", [Line("p50", ["a"], [1.5]), Line("p99", ["a"], [9.0])])
    told = report_text(Report("m", AT, [], [Section("Traffic", charts=[traffic, latency])])).splitlines()
    assert [line.split() for line in told[told.index("TRAFFIC") + 1 :]] == [
        ["Points", "Least", "Most", "Last"],
        ["Predictions", "2", "10", "30", "30"],
        ["Duration", "in", "ms,", "p50", "1", "1.5", "1.5", "1.5"],
        ["Duration", "in", "ms,", "p99", "1", "9", "9", "9"],
    ]


def test_an_empty_label_is_not_told() -> None:
    """Who brings no version reads no `version=`."""
    check = replace(evaluation("x").checks[0], labels={"version": "", "plan": "free"})
    assert "g/x plan=free: failed" in text_of(replace(evaluation("x"), checks=[check]))


def test_a_chart_of_numbers_that_cannot_be_drawn_is_left_out() -> None:
    """Infinities, nothing at all, one point, equal values and the greatest numbers harm no page."""
    huge = 1.7976931348623157e308
    for values in ([float("inf"), float("nan")], [], [3.0], [2.0, 2.0], [-huge, huge], [5e-324, 0.0]):
        positions = list(range(len(values)))
        for kind in ("lines", "bars"):
            drawn = Chart("t", kind, [Line("a", positions, values)])
            page = report_page(Report("m", AT, [], [Section("s", charts=[drawn])]))
            assert (
                "nan" not in "".join(re.findall(r'(?:points|d|[xy]\d?|width|height)="[^"]*"', page)).lower()
            )


def test_an_interval_tells_which_model_is_better() -> None:
    """Above 0 or below it, by what is better; around it there is no clear difference."""
    auc = Comparison("m", "ROC-AUC", "more", low=0.01, high=0.02)
    assert auc.word == "better"
    assert replace(auc, better="less").word == "worse"
    assert replace(auc, low=-0.02, high=-0.01).word == "worse"
    assert replace(auc, low=-0.01).word == "no clear difference"
    assert replace(auc, low=None).word == "unknown"


def test_a_chart_of_one_moment_tells_that_moment() -> None:
    """Where no whole hour lies on the axis, it tells where it begins, and not the next hour."""
    line = {"name": "rows", "x": ["2026-01-01T10:10:00Z"], "y": [1.0]}
    picture = picture_of({"title": "Rows", "kind": "times", "lines": [line]})
    assert "01 Jan 10:10" in picture
    assert "11:00" not in picture
