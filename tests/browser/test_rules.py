"""The back-test of a rule as people use it: the threshold is pulled, and what would have fired is shown."""

from helpers.browser import SPAN, Looking


def test_a_threshold_is_tried_on_the_past(looking: Looking) -> None:
    """What would have fired is told, with a strip, a chart, and the text for the file."""
    looking.said.clear()
    page = looking.page(f"/rule?rule=churn%2FScoreHigh&{SPAN}")
    page.fill("#threshold", "-1")
    page.click("[data-backtest] button.main")
    page.wait_for_function(
        "() => document.querySelector('[data-sum]').textContent.startsWith('It would have fired ')",
        timeout=120_000,
    )
    assert page.inner_text("#for-the-file").startswith("condition: value > -1\nfor: ")
    assert page.locator("[data-tried] .strip rect").count() >= 1
    assert page.locator("[data-tried] .u-over").count() == 1
    page.fill("#for", "7x")
    assert not page.evaluate("() => document.querySelector('[data-backtest]').checkValidity()")
    assert looking.said == []
    page.context.close()
