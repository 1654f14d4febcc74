"""Reading rules files."""

from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from lapwing_collector.errors import ConfigError, QueryError
from lapwing_collector.model.alerts import RuleId
from lapwing_collector.model.slots import Every
from lapwing_collector.rules import Sample, WaitFor, load_rule_file, load_rules, merge_rules

INVALID = Path(__file__).parents[2] / "data" / "invalid" / "rules"
EXPECTED = "# expected: "
FULL = """
groups:
  - name: first
    interval: 15m
    query_offset: 30s
    limit: 50
    timeout: 5s
    labels: {team: a, tier: "1"}
    rules:
      - alert: Full
        expr: SELECT feature, value, sample_count FROM t WHERE time >= $window_start
        condition: value > 0.2
        resolve_condition: value < 0.1
        identity: [feature]
        window: 1h30m
        query_offset: 1m
        for: 45m
        keep_firing_for: 1d
        labels: {tier: "{{ $labels.feature }}"}
        annotations: {summary: "{{ $value }}"}
        min_samples: 5
        wait_for: {expr: SELECT true, timeout: 2d, on_timeout: skip}
        on_no_data: keep
        no_data_for: 2h
        on_missing: keep
        missing_evals: 3
        on_error: keep
        error_for: 1m
        limit: 7
        timeout: 9s
        new_group_delay: 3h
        criticality: warn
        check_late: 1h
        sample: {expr: "SELECT * FROM t WHERE name = $feature", limit: 20, redact: [email]}
        enabled: false
        owner: me
      - record: psi
        expr: SELECT 1 AS value
        model: churn
  - name: second
    rules:
      - {alert: Short, expr: SELECT 1 AS value, condition: value < 1}
"""


def check_sql(sql: str) -> None:
    """Stand in for the query room: exactly one SELECT, by DuckDB's own parser."""
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(str(error).splitlines()[0]) from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryError("expected one SELECT")


def test_every_key_reaches_the_rule() -> None:
    """What a file says is what the rule has."""
    rule = load_rules(FULL, "r.yaml", check_sql)[0]
    assert (rule.id, rule.kind, str(rule.id)) == (RuleId("first", "Full"), "alert", "first/Full")
    assert rule.expr.startswith("SELECT feature")
    assert (rule.condition, rule.resolve_condition, rule.identity) == (
        "value > 0.2",
        "value < 0.1",
        ("feature",),
    )
    assert (rule.slots, rule.window) == (Every(timedelta(minutes=15)), timedelta(minutes=90))
    assert (rule.query_offset, rule.timeout) == (timedelta(minutes=1), timedelta(seconds=9))
    assert (rule.for_, rule.keep_firing_for) == (timedelta(minutes=45), timedelta(days=1))
    assert {name: text.source for name, text in rule.labels.items()} == {
        "team": "a",
        "tier": "{{ $labels.feature }}",
        "owner": "me",
    }
    assert {name: text.source for name, text in rule.annotations.items()} == {"summary": "{{ $value }}"}
    assert (rule.min_samples, rule.limit, rule.enabled) == (5, 7, False)
    assert rule.wait_for == WaitFor("SELECT true", timedelta(days=2), "skip")
    assert (rule.on_no_data, rule.no_data_for) == ("keep", timedelta(hours=2))
    assert (rule.on_missing, rule.missing_evals) == ("keep", 3)
    assert (rule.on_error, rule.error_for) == ("keep", timedelta(minutes=1))
    assert (rule.new_group_delay, rule.criticality) == (timedelta(hours=3), "warn")
    assert rule.check_late == timedelta(hours=1)
    assert rule.sample == Sample("SELECT * FROM t WHERE name = $feature", 20, frozenset({"email"}))
    assert not rule.fires_below


def test_a_rule_takes_over_its_groups_keys() -> None:
    """Interval, offset, limit, timeout and labels of the group hold for rules without their own."""
    rule = load_rules(FULL, "r.yaml")[1]
    assert (rule.id, rule.kind, rule.model) == (RuleId("first", "psi"), "record", "churn")
    assert (rule.slots, rule.window) == (Every(timedelta(minutes=15)), timedelta(minutes=15))
    assert (rule.query_offset, rule.limit, rule.timeout) == (timedelta(seconds=30), 50, timedelta(seconds=5))
    assert set(rule.labels) == {"team", "tier"}


def test_a_short_rule_has_the_defaults() -> None:
    """A name, a query and a condition are enough."""
    rule = load_rules(FULL, "r.yaml")[2]
    assert (rule.slots, rule.window) == (Every(timedelta(minutes=1)), timedelta(minutes=1))
    assert (rule.query_offset, rule.for_, rule.keep_firing_for) == (timedelta(0), timedelta(0), timedelta(0))
    assert (rule.limit, rule.timeout, rule.min_samples) == (1000, timedelta(seconds=30), 0)
    assert (rule.on_no_data, rule.no_data_for) == ("no_data", timedelta(hours=1))
    assert (rule.on_missing, rule.missing_evals) == ("resolve", 2)
    assert (rule.on_error, rule.error_for, rule.enabled) == ("keep", timedelta(minutes=5), True)
    assert (rule.resolve_condition, rule.identity, rule.wait_for, rule.model) == (None, None, None, None)
    assert (rule.new_group_delay, rule.criticality, rule.sample) == (timedelta(0), "fail", None)
    assert rule.fires_below


def test_the_default_timeout_is_half_of_a_short_interval() -> None:
    """A rule that runs every 10 s may not take 30."""
    text = "groups: [{name: g, interval: 10s, rules: [{alert: A, expr: SELECT 1 AS value}]}]"
    assert load_rules(text, "r.yaml")[0].timeout == timedelta(seconds=5)


@pytest.mark.parametrize("path", sorted(INVALID.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_wrong_file_is_refused_with_all_its_mistakes(path: Path) -> None:
    """Each mistake is told with line, key and what was expected; the file itself says which lines."""
    text = path.read_text()
    expected = [line.removeprefix(EXPECTED) for line in text.splitlines() if line.startswith(EXPECTED)]
    assert expected
    with pytest.raises(ConfigError) as error:
        load_rules(text, "rules.yaml", check_sql)
    assert str(error.value).splitlines() == [f"rules.yaml:{line}" for line in expected]


@pytest.mark.parametrize("keys", ["alert: null", "alert: null, record:", "record: ''"])
def test_an_empty_name_is_no_name(keys: str) -> None:
    """A key without a value names no rule."""
    with pytest.raises(ConfigError, match=r"needs one of the keys|expected a name"):
        load_rules(f"groups: [{{name: g, rules: [{{{keys}, expr: SELECT 1 AS value}}]}}]", "r.yaml")


def test_two_files_may_not_have_the_same_rule() -> None:
    """State belongs to group and rule names, so the files must not share them."""
    text = "groups: [{name: g, rules: [{alert: A, expr: SELECT 1 AS value}]}]"
    first, second = load_rules(text, "a.yaml"), load_rules(text, "b.yaml")
    with pytest.raises(
        ConfigError, match=r"^b\.yaml: g/A stands in a\.yaml too; rename the group or the rule$"
    ):
        merge_rules({"a.yaml": first, "b.yaml": second})
    other = load_rules(text.replace("name: g", "name: h"), "b.yaml")
    assert merge_rules({"a.yaml": first, "b.yaml": other}) == first + other


EACH = """
groups:
  - name: g
    for_each_model: "churn*"
    rules:
      - alert: A
        expr: |
          SELECT region, count(*) AS value FROM predictions.{{ model }}
          WHERE tags['m'] = {{model}} AND {{ model }} IN ({{ model }}) -- of {{ model }}
        condition: value > 0 AND {{ model }} <> ''
        wait_for: {expr: "SELECT min(label_coverage) > 0.9 FROM accuracy({{ model }})", timeout: 1h}
      - record: r
        labels: {model: mine}
        expr: SELECT 1 AS value
"""


def test_a_group_for_models_stands_for_a_group_per_model() -> None:
    """Its rules have the model's table, its name, and the label `model`, whatever the name looks like."""
    file = load_rule_file(EACH, "r.yaml", check_sql)
    assert file.rules == load_rules(EACH, "r.yaml") == ()
    (group,) = file.model_groups
    assert (group.name, group.pattern) == ("g", "churn*")
    assert group.rules_of("Churn", "Churn") == group.rules_of("x-churn", "x-churn") == ()
    name = 'churn "{{ it\'s }}"'
    alert, record = group.rules_of(name, "churn~2")
    assert (str(alert.id), alert.model) == (f"g[{name}]/A", name)
    text = "'" + name.replace("'", "''") + "'"
    assert 'FROM predictions."churn~2"' in alert.expr
    assert f"tags['m'] = {text} AND {text} IN ({text})" in alert.expr
    assert alert.condition == f"value > 0 AND {text} <> ''"
    assert alert.wait_for is not None
    assert "accuracy('churn~2')" in alert.wait_for.expr
    check_sql(alert.expr)
    assert alert.labels["model"].render({}) == name
    assert record.labels["model"].render({}) == "mine"
    other = group.rules_of("churn2", "churn2")[0]
    assert other.id != alert.id
    assert other.definition != alert.definition
    assert group.rules_of(name, "churn~2")[0] == alert


def test_reading_a_file_twice_gives_equal_rules() -> None:
    """A reload can tell what changed by comparing."""
    assert load_rules(FULL, "a.yaml") == load_rules(FULL, "b.yaml")


def test_the_example_rules_can_be_read() -> None:
    """The rules of the standing example fit the schema."""
    path = Path(__file__).parents[3] / "examples" / "flights" / "rules.yaml"
    assert load_rules(path.read_text(), path.name, check_sql)
