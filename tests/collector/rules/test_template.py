"""Templates of labels and annotations."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.rules_build import START
from lapwing_collector.rules.template import (
    LABEL_VARIABLES,
    TemplateError,
    compile_template,
    humanize,
    humanize_duration,
    humanize_percentage,
)

CONTEXT = {
    "labels": {"feature": "age", "items": "3", "my label": "m"},
    "value": 0.12345,
    "values": {"p95": 7},
    "sample_count": 500,
    "window_start": START + timedelta(hours=5, minutes=45),
    "window_end": START + timedelta(hours=6),
    "slot": START + timedelta(hours=6),
}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain", "plain"),
        ("{{ $labels.feature }}: {{ $value | round(2) }}", "age: 0.12"),
        ("{{ labels.feature }}: {{ value | round(2) }}", "age: 0.12"),
        ("{{$value}}", "0.12345"),
        ("{% if $value > 0.1 %}high{% else %}low{% endif %}", "high"),
        ("costs $value, {{ 'US' }}$", "costs $value, US$"),
        ("{{ $labels.items }} {{ $labels['my label'] }}", "3 m"),
        ("{% for name in labels %}{{ name }},{% endfor %}", "feature,items,my label,"),
        ("{{ $labels.other | default('none') }}", "none"),
        ("{{ $values.p95 }} of {{ $sample_count }}", "7 of 500"),
        ("{{ $window_start | date }}", "2013-03-01 05:45"),
        ("{{ $slot | date('%d %b') }}", "01 Mar"),
        ("{{ ($window_end - $window_start) | humanizeDuration }}", "15m 0s"),
        ("{{ $value | humanizePercentage }}", "12.35%"),
        ("<b>{{ '<i>' }}</b>", "<b><i></b>"),
    ],
)
def test_a_template_is_filled_in(source: str, text: str) -> None:
    """Prometheus's spelling and Jinja's give the same text; text outside braces stays as it is."""
    assert compile_template(source).render(CONTEXT) == text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ $value", "is not a valid template: unexpected end of template"),
        ("{{ $value | printf }}", "is not a valid template: No filter named 'printf'"),
        ("{% if %}", "is not a valid template: Expected an expression"),
        ("{{ $vlaue }} {{ b }}", "the template reads b, vlaue, unknown here; there is labels, sample_count"),
        ("{{ range(3) }}", "the template reads range, unknown here"),
    ],
)
def test_a_template_that_can_never_work_is_refused(source: str, message: str) -> None:
    """Syntax errors, unknown filters and unknown names are found without data."""
    with pytest.raises(TemplateError) as error:
        compile_template(source)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("name", ["value", "values", "sample_count", "slot", "window_start", "window_end"])
def test_labels_may_not_read_what_changes(name: str) -> None:
    """A label that follows the value would send each message elsewhere."""
    with pytest.raises(TemplateError, match=f"reads {name}, unknown here; there is labels"):
        compile_template(f"{{{{ ${name} }}}}", LABEL_VARIABLES)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ $labels.other }}", "'dict object' has no attribute 'other'"),
        ("{{ $value + 'a' }}", "unsupported operand type"),
        ("{{ $sample_count / 0 }}", "division by zero"),
        ("{{ 'a' | humanize }}", "must be real number, not str"),
        ("{{ $labels.__class__ }}", "no attribute '__class__'"),
        ("{{ $labels.feature.__class__ }}", "unsafe"),
    ],
)
def test_a_failing_template_becomes_a_note(source: str, reason: str) -> None:
    """What fails on the data, or reaches out of the sandbox, is told in the text's place."""
    text = compile_template(source).render(CONTEXT)
    assert text.startswith(f"<template {source!r} failed: ")
    assert reason in text


@pytest.mark.parametrize("text", ["{{ 1 }}", "{% raw %}", "$value", "}}", "{#"])
def test_data_is_never_taken_for_a_template(text: str) -> None:
    """Label values come from users' data and are put in as they are."""
    assert compile_template("{{ $labels.x }}").render({"labels": {"x": text}}) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (999.9, "999.9"),
        (1234567, "1.235M"),
        (-1500, "-1.5k"),
        (0.00012, "120u"),
        (-0.05, "-50m"),
        (1e30, "1e+06Y"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_humanize(value: float, text: str) -> None:
    """Numbers have four digits and an SI prefix, as in Prometheus."""
    assert humanize(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0s"),
        (0.0123, "12.3ms"),
        (1.5, "1.5s"),
        (59.99, "59.99s"),
        (60, "1m 0s"),
        (3600, "1h 0m 0s"),
        (93784, "1d 2h 3m 4s"),
        (-90, "-1m 30s"),
        (math.inf, "inf"),
        (timedelta(days=2), "2d 0h 0m 0s"),
    ],
)
def test_humanize_duration(value: float, text: str) -> None:
    """Seconds and time differences are told in days, hours, minutes and seconds, as in Prometheus."""
    assert humanize_duration(value) == text


def test_humanize_percentage() -> None:
    """Shares are told as percentages with four digits."""
    assert [humanize_percentage(x) for x in (0.12345, 1, 0)] == ["12.35%", "100%", "0%"]


@given(st.floats(min_value=1e-24, max_value=1e24, exclude_max=True))
def test_humanize_keeps_the_number(value: float) -> None:
    """Read back with its prefix, a humanized number is the number to four digits."""
    prefixes = "yzafpnum kMGTPEZY"
    text = humanize(value)
    exponent = 3 * (prefixes.index(text[-1]) - 8) if text[-1] in prefixes else 0
    digits = text.rstrip(prefixes)
    assert math.isclose(float(digits) * 10.0**exponent, value, rel_tol=6e-4)
