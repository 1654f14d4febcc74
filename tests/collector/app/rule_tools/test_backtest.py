"""Back-tests: the real engine over a lake's history, on one snapshot, with advice that can be checked."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.batches import predictions
from lapwing_collector.app.places.project import load_project, with_models
from lapwing_collector.app.rule_tools.backfill import run_rules
from lapwing_collector.app.rule_tools.backtest import Backtest, backtest
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.cli.main import app
from lapwing_collector.errors import ConfigError, DataDirectoryError
from lapwing_collector.lake import CatalogKeeper, Lake, Progress
from lapwing_collector.query import Limits, Session
from lapwing_collector.rules import Rule

BEGIN = datetime(2026, 3, 1)
RULES = """
groups:
  - name: g
    interval: 5m
    rules:
      - alert: Failing
        expr: |
          SELECT version, count(*) AS sample_count, count(error_type) / count(*) AS value
          FROM predictions.churn WHERE time >= $window_start AND time < $window_end GROUP BY version
        condition: value > 0.3
        annotations: {summary: "{{ $value }}"}
      - alert: Broken
        enabled: false
        expr: SELECT version::INTEGER AS value FROM predictions.churn
  - name: each
    for_each_model: "chu*"
    interval: 5m
    rules:
      - alert: Quiet
        enabled: false
        expr: SELECT count(*) AS value FROM predictions.{{ model }} WHERE time >= $window_start
        condition: value < 1
  - name: recorded
    rules:
      - record: rows
        expr: SELECT count(*) AS value FROM predictions.churn WHERE time < $window_end
"""


def minute(number: int) -> dict[str, object]:
    """A row a minute; all of the minutes 60 to 90 fail, and of 120 to 180 those of every second window."""
    failing = 60 <= number < 90 or (120 <= number < 180 and number // 5 % 2 == 0)
    return {
        "prediction_id": str(number),
        "time": BEGIN + timedelta(minutes=number),
        "version": "v1",
        "error_type": "E" if failing else None,
        "output.value": 1,
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with five hours of predictions."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "rules").mkdir()
    (folder / "rules" / "r.yaml").write_text(RULES)
    (folder / "lapwing.yaml").write_text("data: data\n")
    lake = Lake.open(folder / "data" / "lake")
    lake.flush([predictions("churn", [minute(number) for number in range(300)])], [], Progress(1, 0))
    lake.close()
    return folder


def try_rules(
    project: Path, *names: str, since: str = "2026-03-01", until: str = "2026-03-01T05:00"
) -> Backtest:
    flags = {"data": project / "data"}
    return backtest(project / "lapwing.yaml", flags, tell_nobody, names, since, until)


def test_a_backtest_tells_what_the_rule_would_have_told(project: Path) -> None:
    """Each time that it fires is the pair of transitions that `rules run` lists, with its length and peak."""
    (tried,) = try_rules(project).rules
    assert (tried.rule, tried.slots, tried.failed) == ("g/Failing", 60, 0)
    assert (tried.first, tried.last) == (BEGIN + timedelta(minutes=5), BEGIN + timedelta(hours=5))
    flags = {"data": project / "data"}
    (past,) = run_rules(
        project / "lapwing.yaml", flags, tell_nobody, ["g/Failing"], "2026-03-01", "2026-03-01T05:00"
    )
    told = [(each.status.value, each.slot) for each in past.transitions]
    ours = [
        (status, slot)
        for each in tried.summary.episodes
        for status, slot in (("firing", each.began), ("resolved", each.ended))
    ]
    assert ours == told
    assert tried.summary.fired == 7
    longest = tried.summary.episodes[0]
    assert (longest.seconds, longest.peak, longest.labels["version"]) == (1800, 1.0, "v1")
    assert tried.summary.flaps == 6
    assert tried.summary.suggested_for_s == 300
    assert tried.summary.health == {"ok": 60}


def test_a_rule_that_is_not_enabled_can_be_tried_and_failures_are_told(project: Path) -> None:
    """Before it is enabled is when people want to know."""
    (tried,) = try_rules(project, "g/Broken").rules
    assert tried.failed == 60
    assert tried.error is not None
    assert "Could not convert" in tried.error


def test_groups_for_models_stand_for_those_that_there_are(project: Path) -> None:
    """Each is tried by its name, as it is live."""
    named = [str(rule.id) for rule in read_rules(project) if rule.id.name == "Quiet"]
    (tried,) = try_rules(project, *named).rules
    assert (tried.slots, tried.failed, tried.summary.values is not None) == (60, 0, True)


def read_rules(project: Path) -> Sequence[Rule]:
    """The project's rules with those for the model churn."""
    read = load_project(project / "lapwing.yaml", {"data": project / "data"})
    return with_models(read, {"churn": "churn"}).rules


def test_all_of_it_is_about_one_snapshot(project: Path) -> None:
    """A session at a snapshot sees neither rows nor tables that come later, where one without does."""
    folder = project / "data" / "lake"
    keeper = CatalogKeeper.start(folder)
    assert keeper.snapshot is not None
    count = "SELECT count(*) AS n FROM predictions.churn"
    at = Session.open(folder, Limits(), keeper.snapshot)
    before = at.run(count).to_pylist()
    lake = Lake.open(folder)
    later = {"prediction_id": "x", "version": "v1", "time": BEGIN, "output.value": 1}
    lake.flush([predictions("churn", [later]), predictions("other", [later])], [], Progress(2, 0))
    newest = Session.open(folder)
    try:
        assert at.run(count).to_pylist() == before
        assert newest.run(count).to_pylist() == [{"n": before[0]["n"] + 1}]
        assert at.run("SELECT count(*) AS n FROM models").to_pylist() == [{"n": 1}]
        assert newest.run("SELECT count(*) AS n FROM models").to_pylist() == [{"n": 2}]
        for view in ("profile_bins", "metric_values_latest", "labeled.churn"):
            columns = f"SELECT * FROM {view} LIMIT 0"
            assert at.run(columns).schema == newest.run(columns).schema
    finally:
        for session in (at, newest):
            session.close()
        lake.close()
        keeper.close()


def test_the_command_shows_it_to_people_and_to_scripts(project: Path) -> None:
    """`--from` may be how long before the end; what is wrong with another condition is told."""
    common = ["rules", "backtest", "--to", "2026-03-01T05:00", "--config", str(project / "lapwing.yaml")]
    common += ["--data", str(project / "data"), "--rule", "g/Failing"]
    shown = CliRunner().invoke(app, [*common, "--from", "5h"], catch_exceptions=False).stdout
    assert "g/Failing: 60 slots, 2026-03-01 00:05 to 2026-03-01 05:00, snapshot " in shown
    assert "would have fired 7 times, 1h in all" in shown
    assert "  2026-03-01 01:05 to 2026-03-01 01:35  30m  peak 1  version=v1" in shown
    assert "try `for: 5m`\n" in shown
    (tried,) = json.loads(
        CliRunner().invoke(app, [*common, "--from", "5h", "--json"], catch_exceptions=False).stdout
    )["rules"]
    assert tried["summary"]["episodes"][0]["began"] == "2026-03-01T01:05:00"
    wrong = CliRunner().invoke(app, [*common, "--from", "5h", "--condition", "value >"])
    assert "syntax error" in str(wrong.exception)


@pytest.mark.parametrize(
    ("since", "until", "message"),
    [
        ("soon", "2026-03-02", "--from: expected a time"),
        ("2026-03-02", "2026-03-01", "is not before --to"),
        ("1d", "x", "--to: expected a time"),
    ],
)
def test_a_span_that_is_none_is_refused(project: Path, since: str, until: str, message: str) -> None:
    """With what is wrong about it."""
    with pytest.raises(ConfigError, match=message):
        try_rules(project, since=since, until=until)


def test_without_a_lake_there_is_no_past(tmp_path: Path) -> None:
    """And whoever asks is told how to make one."""
    (tmp_path / "lapwing.yaml").write_text("data: data\n")
    with pytest.raises(DataDirectoryError, match="no lake here yet"):
        backtest(tmp_path / "lapwing.yaml", {"data": tmp_path / "data"}, tell_nobody, [], "1d", None)
