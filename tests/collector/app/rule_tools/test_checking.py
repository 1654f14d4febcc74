"""Checking rule files: all that is wrong or odd, with its place."""

import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from string import ascii_lowercase

import pytest

from helpers.query_lake import make_lake
from lapwing_collector.app.rule_tools.checking import Checked, check_rules

Check = Callable[..., Checked]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Checks rule files of these texts, a.yaml, b.yaml and so on; None is one that is not there."""

    def checked(*texts: str | None, data: Path | None = None, lint: bool = False) -> Checked:
        files = [tmp_path / f"{letter}.yaml" for letter, _ in zip(ascii_lowercase, texts, strict=False)]
        for file, text in zip(files, texts, strict=True):
            if text is not None:
                file.write_text(textwrap.dedent(text))
        return check_rules(None, {"data": data or tmp_path / "nothing"}, files, lint=lint)

    return checked


def lines(found: Checked) -> list[str]:
    return [f"{Path(each.file).name}:{each.line}: {each.kind}: {each.text}" for each in found.findings]


def places(found: Checked) -> list[tuple[int | None, str]]:
    return [(each.line, each.kind) for each in found.findings]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with predictions of churn."""
    folder = tmp_path_factory.mktemp("data")
    make_lake(folder / "lake")
    return folder


def test_mistakes_of_all_files_are_told_at_once_each_in_the_line_of_its_sql(check: Check) -> None:
    """A syntax error is told where it stands in the SQL, however YAML writes it."""
    found = check(
        """\
        groups:
          - name: g
            rules:
              - alert: Block
                expr: |

                  SELECT 1 AS value
                  FORM t
                windw: 5m
              - alert: Folded
                expr: >-
                  SELECT 1 AS value

                  FROM t
                  WHERE (
              - alert: Plain
                expr: SELECT 1 AS value
                  FORM t
              - alert: Quoted
                expr: 'SELECT ''a'' AS name,
                  1 AS AS value'
              - alert: Condition
                expr: SELECT 1 AS value
                condition: |
                  value > 2 AND
                  value > > 3
              - alert: Metric
                expr: FROM acuracy('m', $window_start, $window_end)
        """,
        "groups: [{name: g, rules: [{alert: A, expr: SELECT}]}]",
        "groups: [",
        None,
    )
    told = lines(found)
    assert [line.partition(" mistake: ")[0] for line in told] == [
        "a.yaml:8:",
        "a.yaml:9:",
        "a.yaml:15:",
        "a.yaml:18:",
        "a.yaml:21:",
        "a.yaml:26:",
        "a.yaml:28:",
        "b.yaml:1:",
        "c.yaml:1:",
        "d.yaml:None:",
    ]
    assert told[0].endswith('groups[0].rules[0].expr: Parser Error: syntax error at or near "FORM"')
    assert told[1].endswith("did you mean window?")
    assert told[6].endswith("did you mean accuracy?")
    assert found.files == 4
    assert not found.lake


def test_a_broken_rule_hides_no_mistake_of_others(check: Check, lake: Path) -> None:
    """What the lake says of the rules beside it is told at once, each in its own line."""
    found = check(
        """\
        groups:
          - name: g
            rules:
              - alert: Broken
                expr: |
                  SELECT 1 AS value
                  FORM t

              # a comment between
              - alert: Column
                expr: SELECT version, count(*) AS value FROM predictions.churn GROUP BY 1
                condition: valeu > 1
              - {alert: Again, windw: 5m, expr: SELECT 1 AS value}
              - alert: Model
                expr: SELECT count(*) AS value FROM predictions.chrun
        """,
        data=lake,
        lint=True,
    )
    told = [(each.line, each.kind) for each in found.findings if "chrun" in each.text or "valeu" in each.text]
    assert told == [(12, "mistake"), (15, "hint")]
    assert {7, 13} <= {each.line for each in found.findings if each.kind == "mistake"}
    assert found.rules == 2
    assert not any("__wrong__" in each.text for each in found.findings)


def test_a_rule_that_two_files_have_is_told_with_its_line(check: Check) -> None:
    """The second one is the one to rename."""
    text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: SELECT 1 AS value\n"
    found = check(text, "# \n" + text)
    assert places(found) == [(5, "mistake")]
    assert "stands in" in found.findings[0].text


def test_what_is_odd_is_a_hint_and_can_be_left_out(check: Check) -> None:
    """Each hint names what is most likely not meant; a careful rule gets none."""
    text = """\
        groups:
          - name: g
            rules:
              - alert: All
                expr: SELECT version, count(*) AS value FROM predictions.churn GROUP BY 1
              - alert: Few
                expr: |
                  SELECT count(*) AS sample_count, avg(inputs.age) AS value FROM predictions.churn
                  WHERE time >= $window_start::TIMESTAMPTZ AND time < $window_end
                annotations: {summary: s}
              - alert: Again
                expr: SELECT version, count(*) AS value FROM predictions.churn GROUP BY 1
                annotations: {summary: s}
              - alert: Careful
                expr: |
                  SELECT count(*) AS sample_count, avg(inputs.age) AS value FROM predictions.churn
                  WHERE time >= $window_start AND time < $window_end
                min_samples: 9
                condition: value > 3
                annotations: {summary: s}
    """
    odd = check(text, lint=True)
    assert {each.kind for each in odd.findings} == {"hint"}
    assert [
        (each.line, each.text.partition(": ")[2].split(",")[0].split(":")[0]) for each in odd.findings
    ] == [
        (4, "has no annotation `summary`"),
        (5, "reads all rows at every slot"),
        (8, "compares with a time that has a time zone"),
        (8, "gives sample_count"),
        (11, "asks what g/All asks already"),
        (12, "reads all rows at every slot"),
    ]
    assert check(text).findings == []


def test_names_are_looked_up_where_there_is_a_lake(check: Check, lake: Path) -> None:
    """What may come yet is a hint with what may be meant; what never works is a mistake in its own line."""
    found = check(
        """\
        groups:
          - name: g
            rules:
              - alert: Fine
                expr: |
                  SELECT version, count(*) AS value
                  FROM predictions.churn WHERE time >= $window_start GROUP BY 1
                condition: value > 3
                annotations: {summary: "{{ $labels.version }} {{ $value }} {{ $values.value }}"}
              - alert: Model
                expr: |
                  SELECT count(*) AS value
                  FROM predictions.chrun
              - alert: Field
                expr: |
                  SELECT
                    avg(inputs.agee) AS value FROM predictions.churn
              - alert: Metric
                expr: FROM accuracy('chrun', $window_start, $window_end)
              - alert: Column
                expr: SELECT count(*) AS mean FROM predictions.churn
                condition: |
                  1 > 0 AND
                  maen > 3
              - alert: Type
                expr: SELECT [1] AS many, count(*) AS value FROM predictions.churn
              - alert: Text
                expr: SELECT version, count(*) AS value FROM predictions.churn GROUP BY 1
                annotations: {summary: "{{ $labels.versoin }}"}
              - alert: Gate
                expr: SELECT count(*) AS value FROM predictions.churn
                gate: [value < production_value, vlaue > 3]
        """,
        data=lake,
        lint=True,
    )
    told = lines(found)
    named = [line for line in told if "did you mean" in line or "neither label" in line]
    assert [line.partition(": groups")[0] for line in named] == [
        "a.yaml:13: hint",
        "a.yaml:16: hint",
        "a.yaml:19: hint",
        "a.yaml:24: mistake",
        "a.yaml:26: mistake",
        "a.yaml:29: mistake",
        "a.yaml:32: mistake",
    ]
    for line, meant in zip(named, ("churn", "age", "churn", "mean", "", "version", "value"), strict=True):
        assert meant in line.rpartition("did you mean")[2]
    assert not [line for line in told if "rules[0]" in line]


def test_groups_for_models_are_looked_at_with_a_model_that_fits(check: Check, lake: Path) -> None:
    """One of the lake's for names; without any, hints are told all the same."""
    text = """\
        groups:
          - name: fine
            rules: []
          - name: each
            for_each_model: "ch*n"
            rules:
              - alert: Field
                expr: |
                  SELECT avg(inputs.agee) AS value FROM predictions.{{ model }}
                  WHERE time >= $window_start
                annotations: {summary: "{{ $labels.plan }}"}
              - alert: Text
                expr: SELECT 1 AS value FROM predictions.{{ model }} WHERE time >= $window_start
                annotations: {summary: "{{ $labels.plan }}"}
              - alert: All
                expr: SELECT 1 AS value FROM predictions.{{ model }}
                annotations: {summary: s}
    """
    found = check(text, data=lake, lint=True)
    assert found.rules == 3
    assert places(found) == [(9, "hint"), (14, "mistake"), (16, "hint")]
    assert places(check(text, lint=True)) == [(16, "hint")]


MANY = """
  - name: g{number}
    rules:
      - alert: A
        window: 5m
        expr: |
          SELECT version, count(*) AS sample_count, count(error_type) / count(*) AS value
          FROM predictions.m{number}
          WHERE time >= $window_start AND time < $window_end AND inputs.f > {number}
          GROUP BY version
        condition: value > 0.0{number}
        min_samples: 50
        labels: {{severity: page}}
        annotations: {{summary: "m{number} {{{{ $labels.version }}}}: {{{{ $value | humanizePercentage }}}}"}}
"""


def test_a_thousand_rules_are_checked_in_seconds(check: Check) -> None:
    """People run this before each commit; the CPU time it takes here leaves room for slow machines."""
    text = "groups:" + "".join(MANY.format(number=number) for number in range(1000))
    began = time.process_time()
    found = check(text, lint=True)
    assert time.process_time() - began < 6
    assert (found.rules, found.findings) == (1000, [])
