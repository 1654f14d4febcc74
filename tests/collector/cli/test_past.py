"""What is said of rules that were read again."""

import pytest

from lapwing_collector.cli.past import show_reloaded

NOTHING: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}


def test_rules_that_come_with_lapwing_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """Who wrote two rules and reads of five hears where the others are from."""
    show_reloaded({"rules": 5, "builtin": 3, **NOTHING, "targets": NOTHING}, as_json=False)
    show_reloaded({"rules": 2, "builtin": 0, **NOTHING, "targets": NOTHING}, as_json=False)
    assert capsys.readouterr().out == "5 rules, 3 of them come with Lapwing\n2 rules\n"
