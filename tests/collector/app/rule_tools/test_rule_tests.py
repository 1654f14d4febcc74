"""Testing rules: the real engine over tables that a test file brings."""

import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lapwing_collector.app.rule_tools import rule_tests
from lapwing_collector.errors import ConfigError

RULES = """
groups:
  - name: fraud
    interval: 1m
    labels: {team: ml}
    rules:
      - alert: Errors
        window: 5m
        expr: |
          SELECT version, count(*) AS sample_count, count(error_type) / count(*) AS value
          FROM predictions.fraud WHERE time >= $window_start AND time < $window_end GROUP BY version
        condition: value > 0.02
        min_samples: 50
        for: 2m
        keep_firing_for: 3m
        annotations: {summary: "{{ $labels.version }}: {{ $value | humanizePercentage }} fail"}
      - record: rows
        expr: SELECT version, count(*) AS value FROM predictions.fraud WHERE time < $window_end GROUP BY 1
  - name: quality
    interval: 1h
    rules:
      - alert: Accuracy
        expr: FROM accuracy('fraud', $window_start, $window_end)
        condition: value < 0.9
      - alert: Broken
        expr: SELECT 1 AS value, nothing FROM predictions.fraud
      - alert: Drift
        expr: |
          SELECT field AS feature, sum(n) AS sample_count, max(n) / sum(n) AS value FROM profile_bins
          WHERE time >= $window_start AND time < $window_end GROUP BY field
        condition: value > 0.5
"""

ERRORS = """
    start_timestamp: 2026-11-22T11:00:00Z
    input_series:
      - {series: 'predictions.fraud{version="v1"}', values: 1x40, rows: 20}
      - {series: 'predictions.fraud{version="v2"}', values: 1x40, rows: 20}
      - {series: 'predictions.fraud{version="v2",error_type="E"}', values: _x10 1x5, rows: 10}
"""


def outcomes(folder: Path, text: str) -> list[rule_tests.Tested]:
    return run_text(folder, text, None)


def run_text(folder: Path, text: str, run: str | None) -> list[rule_tests.Tested]:
    (folder / "rules.yaml").write_text(RULES)
    file = folder / "t.yaml"
    file.write_text("rule_files: [rules.yaml]\ntests:\n" + textwrap.indent(text.strip("\n"), ""))
    return list(rule_tests.run_tests([file], run))


@pytest.mark.parametrize(
    ("minute", "version"),
    # The first errors come at 11:10, so that the window of 11:11 has them: the alert fires two minutes later.
    # The last ones come at 11:15 and leave the window of 11:21; it fires on for three minutes.
    [(10, None), (12, None), (13, "v2"), (20, "v2"), (23, "v2"), (24, None), (40, None)],
)
def test_alerts_fire_and_resolve_at_the_slots_that_live_rules_would(
    tmp_path: Path, minute: int, version: str | None
) -> None:
    """`for`, `keep_firing_for` and `min_samples` count as they do live; what is checked can fail."""
    fires = "{exp_labels: {version: v2, team: ml}}"
    asked = f"    alert_rule_test: [{{eval_time: {minute}m, alertname: Errors, exp_alerts: [%s]}}]"
    text = "  - name: e" + ERRORS + asked
    (right,) = outcomes(tmp_path, text % (fires if version else ""))
    assert right.failures == ()
    (wrong,) = outcomes(tmp_path, text % ("" if version else fires))
    assert len(wrong.failures) == 1


def test_a_difference_tells_what_is_there_instead(tmp_path: Path) -> None:
    """Labels and texts beside what was expected, and why nothing fires where nothing does."""
    (one,) = outcomes(
        tmp_path,
        "  - name: e"
        + ERRORS
        + """\
    alert_rule_test:
      - {eval_time: 12m, alertname: Errors, exp_alerts: [{exp_labels: {version: v2}}]}
      - eval_time: 14m
        alertname: Errors
        exp_alerts: [{exp_labels: {version: v3}, exp_annotations: {summary: x}}]
      - {eval_time: 0s, alertname: Errors, exp_alerts: [{}]}
      - {eval_time: 1h, alertname: Broken, exp_alerts: [{}]}
    record_rule_test:
      - {eval_time: 1m, record: rows, exp_samples: [{labels: {version: v1}, value: 20}, {value: 21}]}
""",
    )
    pending, other, early, broken, recorded = one.failures
    assert pending.splitlines() == [
        "alert_rule_test: eval_time 12m, alertname Errors:",
        "  - expected {alertname: Errors, version: v2}",
        "      {alertname: Errors, team: ml, version: v1} is inactive, value 0",
        "      {alertname: Errors, team: ml, version: v2} is pending since 2026-11-22 11:11, value 0.166667",
    ]
    assert other.splitlines() == [
        "alert_rule_test: eval_time 14m, alertname Errors:",
        "  - expected {alertname: Errors, version: v3}",
        "  + got      {alertname: Errors, team: ml, version: v2}",
        "      label version: expected 'v3', got 'v2'",
        "      annotation summary:",
        "        - 'x'",
        "        + 'v2: 28.57% fail'",
    ]
    assert "its query has returned no rows" in early
    assert 'the rule fails: Binder Error: Referenced column "nothing"' in broken or "no rows" in broken
    assert recorded.splitlines()[1:] == ["  - expected {} 21", "  + got      {team: ml, version: v2} 20"]


def test_tables_come_from_rows_and_files_and_metrics_read_them(tmp_path: Path) -> None:
    """Labels find their predictions, times may be durations, and columns that are left out are NULL."""
    (tmp_path / "labels.csv").write_text("prediction_id,label,time\na,x,\nb,y,2026-11-22T11:20:00+00:00\n")
    pq.write_table(
        pa.table({"time": ["5m"], "prediction_id": ["b"], "output.value": ["x"]}), tmp_path / "p.parquet"
    )
    (tmp_path / "bins.csv").write_text("model,field,bin,n,time\nfraud,age,1,30,5m\nfraud,age,2,10,5m\n")
    text = """\
  - start_timestamp: 2026-11-22T12:00:00+01:00
    input_tables:
      labels.fraud: labels.csv
      profile_bins: {file: bins.csv}
      predictions.fraud:
        rows:
          - {time: 5m, prediction_id: a, output: {value: x}, tags: {region: eu}}
          - {time: 2026-11-22 11:07, prediction_id: b, output.value: x, version: v2, stage: production}
          - {time: 7m, prediction_id: c, output.value: x, stage: shadow}
    alert_rule_test:
      - {eval_time: 59m, alertname: Accuracy}
      - {eval_time: 1h, alertname: Accuracy, exp_alerts: [{}]}
      - {eval_time: 1h, alertname: Drift, exp_alerts: [{exp_labels: {feature: age}}]}
    record_rule_test:
      - eval_time: 1h
        record: rows
        exp_samples: [{labels: {version: ""}, value: 1}, {labels: {version: v2}, value: 1}]
  - input_tables: {predictions.fraud: p.parquet}
    alert_rule_test: [{eval_time: 1h, alertname: Accuracy}]
    record_rule_test: [{eval_time: 1h, record: rows, exp_samples: [{value: 1}]}]
"""
    assert [(each.name, each.failures) for each in outcomes(tmp_path, text)] == [
        ("test 1", ()),
        ("test 2", ()),
    ]


def test_only_tests_that_match_are_run(tmp_path: Path) -> None:
    """The pattern is a regular expression over names."""
    one = "  - {name: %s, alert_rule_test: [{eval_time: 0s, alertname: Accuracy}]}\n"
    assert [each.name for each in run_text(tmp_path, one % "drift" + one % "errors", "^dr")] == ["drift"]
    with pytest.raises(ConfigError, match=r"--run: '\(' is not a regular expression"):
        run_text(tmp_path, one % "drift", "(")


NOTIFY = """
route:
  receiver: team
  group_wait: 5m
  routes:
    - {matchers: ['version="v2"'], receiver: oncall, group_wait: 0s, mute_time_intervals: [night]}
receivers:
  - {name: team, apprise_configs: [{name: chat, url: json://localhost}]}
  - {name: oncall, apprise_configs: [{name: pager, url: json://localhost}]}
time_intervals:
  - {name: night, time_intervals: [{times: [{start_time: "20:00", end_time: "24:00"}]}]}
"""


def test_groups_for_models_stand_for_those_that_a_test_brings(tmp_path: Path) -> None:
    """A pattern that fits the model of a table makes its rules."""
    (tmp_path / "rules.yaml").write_text("""
groups:
  - name: each
    for_each_model: "fr*"
    rules:
      - alert: Some
        expr: SELECT count(*) AS value FROM predictions.{{ model }} WHERE time < $window_end
        condition: value > 0
""")
    file = tmp_path / "t.yaml"
    file.write_text("""
rule_files: [rules.yaml]
tests:
  - input_series: [{series: predictions.fraud, values: 1}]
    alert_rule_test:
      - {eval_time: 0s, alertname: Some}
      - {eval_time: 1m, alertname: Some, exp_alerts: [{}]}
""")
    (one,) = rule_tests.run_tests([file])
    assert one.failures == ()


@pytest.mark.parametrize(
    ("day", "minute", "targets", "suppressed"),
    [
        ("11:00", 12, [], []),  # pending
        ("11:00", 13, ["pager"], []),
        ("21:00", 13, [], ["pager"]),  # muted at night
    ],
)
def test_routes_are_tested_with_the_rules_that_use_them(
    tmp_path: Path, day: str, minute: int, targets: list[str], suppressed: list[str]
) -> None:
    """Who is told by then, who is not though it was meant for them; waits and intervals count."""
    (tmp_path / "notify.yaml").write_text(NOTIFY)
    text = "  - name: e" + ERRORS.replace("11:00:00Z", f"{day}:00Z") + "    notify_test: [%s]\n"

    def told(expected: str) -> rule_tests.Tested:
        (tmp_path / "rules.yaml").write_text(RULES.partition("  - name: quality")[0])
        file = tmp_path / "t.yaml"
        file.write_text("rule_files: [rules.yaml]\nnotify_file: notify.yaml\ntests:\n" + text % expected)
        (one,) = rule_tests.run_tests([file])
        return one

    right = f"{{eval_time: {minute}m, exp_targets: {targets}, exp_suppressed: {suppressed}}}"
    assert told(right).failures == ()
    wrong = told(f"{{eval_time: {minute}m, exp_targets: [chat], exp_suppressed: {suppressed}}}")
    (failure,) = wrong.failures
    assert failure.splitlines()[:3] == [
        f"notify_test: eval_time {minute}m:",
        "  - exp_targets [chat]",
        f"  + got [{', '.join(targets)}]",
    ]


ERRORS_AT_0 = "alert_rule_test: [{eval_time: 0s, alertname: Errors}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alert_rule_test: [{eval_time: 0s, alertname: Erors}]", "no alert Erors; did you mean Errors?"),
        ("record_rule_test: [{eval_time: 0s, record: x}]", "no record x; there are rows"),
        (
            f"input_tables: {{models: {{rows: [{{modle: a}}]}}}}, {ERRORS_AT_0}",
            "models has no column modle; it has model, version",
        ),
        (
            f"input_tables: {{reference_bin: {{rows: []}}}}, {ERRORS_AT_0}",
            "a lake has no table reference_bin",
        ),
        (
            f"input_tables: {{predictions.m: {{rows: [{{time: soon}}]}}}}, {ERRORS_AT_0}",
            "predictions.m.time: expected a time such as",
        ),
        (f"input_tables: {{predictions.m: none.csv}}, {ERRORS_AT_0}", "none.csv: cannot be read"),
    ],
)
def test_what_a_test_names_must_be_there(tmp_path: Path, text: str, message: str) -> None:
    """A name that is misspelt is no passing test."""
    with pytest.raises(ConfigError) as error:
        outcomes(tmp_path, f"  - {{{text}}}")
    assert message in str(error.value)
