"""Explore in a real browser: a range that is dragged over filters at once, without asking the collector."""

from helpers.browser import SPAN, Looking

COUNTS = """() => Object.fromEntries([...document.querySelectorAll('[data-dimension="version"] li')]
    .map((line) => [line.firstChild.textContent, line.querySelector(".n").textContent]))"""


def test_brushing(looking: Looking) -> None:
    """Dragging counts at once and keeps the range in the address; it is compared with the rest."""
    page = looking.page(f"/model/explore?name=churn&{SPAN}")
    page.wait_for_selector('[data-dimension="version"] li')
    whole = page.evaluate(COUNTS)
    assert {"1", "2"} <= set(whole)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    box = page.locator("figure .u-over").first.bounding_box()
    at = [box["x"] + box["width"] * share for share in (0.1, 0.3)]
    page.mouse.move(at[0], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(at[1], box["y"] + 40, steps=5)
    page.wait_for_function("() => document.querySelector('[data-picked]').textContent.includes(' of ')")
    within = page.evaluate(COUNTS)
    page.mouse.up()
    assert within["1"] != whole["1"]
    assert page.inner_text('[data-dimension="version"] li >> nth=0').startswith("1")
    assert "within=2026-01-01" in page.url
    assert [url for url in asked if "/api/v1/panels" in url] == []
    page.reload()
    page.wait_for_selector('[data-dimension="version"] li')
    assert page.evaluate(COUNTS)["1"] == within["1"]
    page.wait_for_function("() => document.querySelector('.u-select')?.offsetWidth > 50")

    page.click("[data-compare]")
    page.wait_for_selector(".delta tbody tr")
    assert "version" in page.locator(".delta tbody th").all_inner_texts()
    page.click("text=All of the time")
    page.wait_for_function("() => document.querySelector('#delta').hidden")
    assert page.evaluate(COUNTS) == whole

    with page.expect_navigation():
        page.click('[data-dimension="inputs.plan"] a >> nth=0')
    page.wait_for_selector('[data-dimension="inputs.plan"] a[aria-current]')
    assert page.locator(".chip").count() == 1
    assert looking.said == []
    page.context.close()
