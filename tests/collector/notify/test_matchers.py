"""Matchers as Alertmanager writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapwing_collector.notify import Matcher, match_all, parse_matchers

PAGE = {"severity": "page", "model": "churn-eu"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('severity="page"', [("severity", "=", "page")]),
        ("severity=page", [("severity", "=", "page")]),
        (' severity =~ "pa.*" ', [("severity", "=~", "pa.*")]),
        ('{severity!="page", model!~"a|b"}', [("severity", "!=", "page"), ("model", "!~", "a|b")]),
        ('a="x,y}",b=', [("a", "=", "x,y}"), ("b", "=", "")]),
        (r'a="say \"hi\" \\ \n"', [("a", "=", 'say "hi" \\ \n')]),
        ('"kind of plan"="pro"', [("kind of plan", "=", "pro")]),
        ("model_name=two words", [("model_name", "=", "two words")]),
    ],
)
def test_matchers_are_read(text: str, expected: list[tuple[str, str, str]]) -> None:
    """One or several, in braces or not, values and names with or without quotes."""
    found = parse_matchers(text)
    assert [(each.label, each.op, each.value) for each in found] == expected


@pytest.mark.parametrize("text", ["", "{}", "severity", "=page", '{a="b"', 'a="b" c="d"', 'a=="b"', 'a="b'])
def test_what_is_no_matcher_is_refused(text: str) -> None:
    """Anything else is told with an example of what was expected."""
    with pytest.raises(ValueError, match="a matcher such as"):
        parse_matchers(text)


def test_a_wrong_expression_is_told() -> None:
    """A regular expression that is none is told with the reason."""
    with pytest.raises(ValueError, match=r"regular expression 'b\(' is wrong: missing \)"):
        parse_matchers('a=~"b("')


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('severity="page"', True),
        ('severity="pag"', False),
        ('severity=~"pag"', False),
        ('severity=~"pag."', True),
        ('severity!~"pag"', True),
        ('severity!="page"', False),
        ('owner=""', True),
        ('owner!=""', False),
        ('owner=~".*"', True),
        ('severity="page",model=~"churn.*"', True),
        ('severity="page",model="fraud"', False),
    ],
)
def test_expressions_fit_whole_labels_and_a_missing_one_is_empty(text: str, meant: bool) -> None:
    """Each operator against a label that is there and one that is not."""
    assert match_all(parse_matchers(text), PAGE) is meant


@given(
    label=st.text(min_size=1).filter(lambda name: name.strip() == name),
    op=st.sampled_from(["=", "!="]),
    value=st.text(),
)
def test_matchers_that_are_written_are_read_as_they_were(label: str, op: str, value: str) -> None:
    """Whatever label and value hold, the text of a matcher gives the same matcher."""
    matcher = Matcher(label, op, value)
    assert parse_matchers(str(matcher)) == (matcher,)
