"""`lapwing metrics`, `lapwing sql --explain` and `lapwing rules explain`, as people and scripts meet them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.query_lake import make_lake
from lapwing_collector.cli.main import app
from lapwing_collector.errors import ConfigError, UnknownMetricError

RULES = """
groups:
  - name: quality
    interval: 1h
    rules:
      - alert: inaccurate
        expr: FROM accuracy('churn', $window_start, $window_end)
        condition: value < 0.9
"""


def output(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose notify file has a secret that nobody set."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "quality.yaml").write_text(RULES)
    (tmp_path / "notify.yaml").write_text("targets:\n  - name: team\n    url: ${env:UNSET_SECRET}\n")
    file = tmp_path / "lapwing.yaml"
    file.write_text("rules: [rules/*.yaml]\n")
    return file


def test_metrics_are_listed() -> None:
    """People get them by group, each with what it says; programs get JSON."""
    text = output("metrics")
    assert "\nclassification\n" in text
    assert "Share of predictions whose class is the true one." in text
    listed = {each["name"]: each for each in json.loads(output("metrics", "--json"))}
    assert listed["error_rate"]["group"] == "traffic"


def test_one_metric_is_told() -> None:
    """Its call, its formula and an example for people, the SQL where asked, all of it as JSON."""
    text = output("metrics", "latency_quantiles")
    assert "quantiles := [0.5, 0.9, 0.95, 0.99]" in text
    assert "quantiles: which quantiles, as shares" in text
    sql = output("metrics", "latency_quantiles", "--sql")
    assert sql.index("CREATE TEMP MACRO lapwing_predictions(") < sql.index(
        "CREATE TEMP MACRO latency_quantiles("
    )
    assert json.loads(output("metrics", "latency_quantiles", "--json"))["sql"] == sql
    with pytest.raises(UnknownMetricError, match="did you mean latency_mean"):
        output("metrics", "latency_men")


def test_a_query_is_explained(tmp_path: Path) -> None:
    """The SQL behind is printed as SQL, or as rows for programs."""
    make_lake(tmp_path / "data" / "lake")
    query = ["sql", "FROM accuracy('churn', $since, $until)", "--explain", "--data", str(tmp_path / "data")]
    text = output(*query)
    assert 'CREATE TEMP VIEW "scored:churn" AS' in text
    assert "CREATE TEMP MACRO accuracy(" in text
    assert json.loads(output(*query, "--format", "json"))[-1]["name"] == "accuracy"


def test_a_rule_is_explained(project: Path) -> None:
    """What a rule is judged by is shown with the SQL of its metrics; no secret is needed for it."""
    text = output("rules", "explain", "inaccurate", "--config", str(project))
    assert text.startswith("-- rule quality/inaccurate\nSELECT *, (\nvalue < 0.9\n) AS lapwing_active")
    assert "CREATE TEMP MACRO accuracy(" in text
    assert output("rules", "explain", "quality/inaccurate", "--config", str(project)) == text
    with pytest.raises(ConfigError, match="did you mean inaccurate"):
        output("rules", "explain", "inacurate", "--config", str(project))
