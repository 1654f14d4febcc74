"""Which of the rules that come with Lapwing a collector evaluates."""

from pathlib import Path
from typing import Any

import pytest

from lapwing_collector.app.project import load_project, with_builtin_rules, with_rules_again

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
    for each in (project, with_rules_again(project)):
        assert [str(rule.id) for rule in each.rules] == rules
        assert [group.name for group in each.model_groups] == groups
        assert each.sources.keys() == {rule.id for rule in each.rules}
    assert with_rules_again(plain).model_groups == ()
