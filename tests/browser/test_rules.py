"""The back-test of a rule as people use it: the threshold is pulled, and what would have fired is shown."""

import pytest

from helpers.browser import SPAN, Looking

pytestmark = pytest.mark.xdist_group("browser")


def test_a_threshold_is_tried_on_the_past(looking: Looking) -> None:
    """One that is out of reach never fires; a lower one does, with a strip and the text for the file."""
    looking.said.clear()
    page = looking.page(f"/rule?rule=churn%2FScoreHigh&{SPAN}")
    for threshold, told in (("1000", "It would not have fired in "), ("-1", "It would have fired ")):
        page.fill("#threshold", threshold)
        page.click("[data-backtest] button.main")
        page.wait_for_function(
            "told => document.querySelector('[data-sum]').textContent.startsWith(told)",
            arg=told,
            timeout=120_000,
        )
        assert page.inner_text("#for-the-file").startswith(f"condition: value > {threshold}\nfor: ")
    assert page.locator("[data-tried] .strip rect").count() >= 1
    assert page.locator("[data-tried] .u-over").count() == 1
    page.fill("#for", "7x")
    assert not page.evaluate("() => document.querySelector('[data-backtest]').checkValidity()")
    assert looking.said == []
    page.context.close()
