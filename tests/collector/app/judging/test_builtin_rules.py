"""Which of the rules that come with Lapwing a collector evaluates."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from helpers.collector import Collector, prediction, project, request, running
from helpers.waiting import wait_until
from lapwing_collector.app.judging.evaluating import outcome_of
from lapwing_collector.app.places.project import load_project, rules_for, with_builtin_rules, with_files_again
from lapwing_collector.clock import epoch_ns
from lapwing_collector.errors import QueryError
from lapwing_collector.model.alerts import RuleState
from lapwing_collector.query import Session
from lapwing_collector.rules import ALL_KNOWN, evaluate

NOTIFY = """
route: {receiver: all}
receivers: [{name: all, apprise_configs: [{name: hook, url: "json://127.0.0.1:9/"}]}]
"""


@pytest.mark.parametrize(
    ("settings", "notify", "rules", "groups"),
    [
        ({}, True, [], ["lapwing-ingest"]),
        ({}, False, [], []),
        ({"alerts.ingest_stalled": False}, True, [], []),
        ({"alerts.watchdog": True}, False, ["lapwing/Watchdog"], []),
        ({"alerts.watchdog": True, "clock": "data"}, True, [], []),
    ],
)
def test_settings_say_which_are_evaluated(
    tmp_path: Path, settings: dict[str, Any], notify: bool, rules: list[str], groups: list[str]
) -> None:
    """Each has a setting; a replay has none; and who is told of nothing misses nobody."""
    (tmp_path / "lapwing.yaml").write_text("rules: []\n")
    if notify:
        (tmp_path / "notify.yaml").write_text(NOTIFY)
    plain = load_project(tmp_path / "lapwing.yaml", settings)
    assert (plain.rules, plain.model_groups) == ((), ())
    project = with_builtin_rules(plain)
    for each in (project, with_files_again(project)):
        assert [str(rule.id) for rule in each.rules] == rules
        assert [group.name for group in each.model_groups] == groups
        assert each.sources.keys() == {rule.id for rule in each.rules}
    assert with_files_again(plain).model_groups == ()


def test_a_model_that_sends_nothing_any_more_is_missed_in_a_real_lake(tmp_path: Path) -> None:
    """The rule's SQL runs as rules run, over rows and counts as the collector keeps them."""
    (tmp_path / "lapwing.yaml").write_text("rules: []\n")
    (tmp_path / "notify.yaml").write_text(NOTIFY)
    configured = with_builtin_rules(project(tmp_path / "data", tmp_path / "lapwing.yaml"))
    rule = rules_for({"churn": "churn"}, configured.model_groups, ())[0]
    newest = datetime(2026, 3, 16, 12, 30)
    times = [newest - n * timedelta(hours=1) for n in range(5)]
    told = {}
    with running(configured) as collector:
        rows = [prediction("churn", f"p{n}", epoch_ns(at), inputs={"x": n}) for n, at in enumerate(times)]
        assert collector.post(request(rows))[0] == 200
        wait_until(lambda: seen(collector) == len(times))
        session = Session.open(tmp_path / "data" / "lake")
        for silent in (timedelta(minutes=30), timedelta(hours=2)):
            outcome = outcome_of(
                lambda sql, given, _: session.run(sql, given), rule, newest + silent, ALL_KNOWN
            )
            evaluation = evaluate(rule, outcome, RuleState(rule.definition), newest + silent)
            told[silent] = [(t.status, t.instance.labels["model"]) for t in evaluation.transitions]
            assert evaluation.state.error is None
        session.close()
    assert list(told.values()) == [[], [("firing", "churn")]]


def seen(collector: Collector) -> int:
    """How many predictions are in the lake."""
    try:
        return collector.ask("SELECT count(*) AS n FROM predictions.churn")[0]["n"]
    except QueryError:
        return 0
