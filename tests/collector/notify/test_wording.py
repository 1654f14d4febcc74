"""Numbers, times, thresholds and trends in words."""

import math
import unicodedata
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.notify.wording import (
    clean,
    comparison,
    cut,
    duration,
    length,
    line,
    number,
    span,
    sparkline,
    told,
)

NOON = datetime(2026, 11, 24, 12)  # times are naive UTC


@pytest.mark.parametrize(
    ("condition", "column", "words", "inside", "outside"),
    [
        ("value > 0.2", "value", "above 0.2", 0.3, 0.2),
        ("  VALUE>=1e-3 ", "value", "at or above 1e-3", 0.001, 0.0009),
        ("value < -5", "value", "below -5", -6, -5),
        ("value <= .5", "value", "at or below .5", 0.5, 0.6),
        ("0.7 > value", "value", "below 0.7", 0.6, 0.7),
        ("0.7 <= value", "value", "at or above 0.7", 0.7, 0.6),
        ("drifted = 1", "drifted", "equal to 1", 1, 0),
        ("drifted == 1", "drifted", "equal to 1", 1, 0),
        ("value <> 0", "value", "other than 0", 1, 0),
        ("0 != value", "value", "other than 0", 1, 0),
    ],
)
def test_a_simple_condition_is_put_into_words(
    condition: str, column: str, words: str, inside: float, outside: float
) -> None:
    """One comparison of a column with a number is read, whichever side it stands on."""
    found = comparison(condition)
    assert found is not None
    assert (found.column, str(found)) == (column, words)
    assert found.holds(inside)
    assert not found.holds(outside)


@pytest.mark.parametrize(
    "condition",
    [
        None,
        "",
        "value",
        "value > low",
        "value < 0.1 OR value > 0.9",
        "abs(value) > 3",
        "value > 1 -- x",
        "1 > 0",
    ],
)
def test_other_conditions_are_left_as_they_are(condition: str | None) -> None:
    """What is more than one comparison with a number is not read at all."""
    assert comparison(condition) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (0.0, "0"),
        (0.6123456, "0.6123"),
        (12.0, "12"),
        (9999.5, "1e+04"),
        (1234567.0, "1,234,567"),
        (1.5e-7, "1.5e-07"),
        (-3, "-3"),
        (1e300, "1e+300"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_numbers_have_the_digits_that_matter(value: float | None, text: str) -> None:
    """Whole numbers are whole, others have four digits."""
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (0.25, "0.25"),
        (NOON, "2026-11-24 12:00 UTC"),
        ("x", "x"),
        ([1], "[1]"),
    ],
)
def test_values_of_rows_are_told(value: object, text: str) -> None:
    """Whatever a row holds has words."""
    assert told(value) == text


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (NOON, NOON + timedelta(hours=1), "2026-11-24 12:00 to 13:00 UTC"),
        (NOON, NOON + timedelta(seconds=30), "2026-11-24 12:00:00 to 12:00:30 UTC"),
        (datetime(2026, 11, 24), datetime(2026, 11, 25), "2026-11-24 UTC"),
        (datetime(2026, 11, 10), datetime(2026, 11, 24), "2026-11-10 to 2026-11-23 UTC"),
        (NOON, NOON + timedelta(days=1), "2026-11-24 12:00 to 2026-11-25 12:00 UTC"),
    ],
)
def test_windows_are_as_short_as_they_can_be(start: datetime, end: datetime, text: str) -> None:
    """The date stands once where one is enough, and times only where days are not whole."""
    assert span(start, end) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (61, "1m 1s"), (93_784, "1d 2h"), (86_400, "1d"), (-5, "0s")]
)
def test_durations_have_two_units(seconds: int, text: str) -> None:
    """A duration is told in its two largest units."""
    assert duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([], ""),
        ([None, None], ""),
        ([1, 1, 1], "▄▄▄"),
        ([0, 1], "▁█"),
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([7, None, 0], "█·▁"),
        ([100, 101, 99], "▄▅▄"),
        ([math.nan, 1, math.inf, 2], "·▁·█"),
        ([-1e308, 1e308], "▄▄"),
    ],
)
def test_a_trend_is_a_row_of_bars(values: list[float | None], bars: str) -> None:
    """Bars stand between the least and the greatest value, a dot where there is none."""
    assert sparkline(values) == bars


@given(st.lists(st.none() | st.floats(width=32), max_size=30))
def test_a_trend_has_a_mark_for_each_value(values: list[float | None]) -> None:
    """Whatever the values, a trend is as long as they are many; what is greater has no lower bar."""
    bars = sparkline(values)
    known = [value for value in values if value is not None and math.isfinite(value)]
    assert len(bars) == (len(values) if known else 0)
    if known:
        marks = {values.index(value): bars[values.index(value)] for value in known}
        assert marks[values.index(max(known))] == max(marks.values())
        assert marks[values.index(min(known))] == min(marks.values())
    if known and max(known) - min(known) >= 0.1 * max(map(abs, known)) > 0:
        assert {"▁", "█"} <= set(bars) or math.isinf(max(known) - min(known))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x00b\x1b[31m\x7f", "a b [31m "),
        ("\u202egnp.exe\u2066\u200f", "gnp.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("half \ud800 pair", "half \ufffd pair"),
        ("one\u2028two\r\nthree", "one\ntwo\nthree"),
        ("עברית", "עברית"),
        ("👩\u200d🔬 über", "👩\u200d🔬 über"),
    ],
)
def test_what_no_screen_shows_is_taken_out(text: str, shown: str) -> None:
    """Control characters and marks of direction go; letters of any script, and emoji, stay."""
    assert clean(text) == shown


@given(st.text(), st.integers(0, 50))
def test_a_line_is_one_and_fits(text: str, most: int) -> None:
    """Whatever the text, it becomes one line that fits and can be written as UTF-8."""
    shown = line(text, most)
    assert length(shown) <= most
    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(c) in {"Cc", "Cs"} for c in shown)
    shown.encode()


def test_what_is_cut_is_marked() -> None:
    """A text that is cut ends in an ellipsis, and emoji count twice as services count them."""
    assert cut("abcdef", 4) == "abc…"
    assert cut("abcd", 4) == "abcd"
    assert cut("😀😀😀", 5) == "😀😀…"
    assert cut("abc", 0) == ""
