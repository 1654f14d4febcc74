"""What becomes of a transition on its way into words."""

import pytest

from helpers.notify_alerts import instance, transition
from lapwing_collector.notify import alert_of


@pytest.mark.parametrize(
    ("alertname", "condition"),
    [("AccuracyLow", "value < 0.9"), ("RuleError", None), ("RuleLimitExceeded", None)],
)
def test_only_a_rules_own_alerts_are_judged_by_its_condition(alertname: str, condition: str | None) -> None:
    """That a query fails has nothing to do with what the rule's rows are held against."""
    told = transition(instance=instance(labels={"alertname": alertname}))
    assert alert_of(told, "value < 0.9").condition == condition
