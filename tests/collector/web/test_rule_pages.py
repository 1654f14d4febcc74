"""Pages of rules: how each stands, how it is written in its file, and what is there to try it on the past."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest

from helpers.notify_desk import Desk
from helpers.query_lake import Readers, make_lake, readers
from helpers.web_server import Web, web_server
from lapwing_collector.app.serving.metrics import rule_reads
from lapwing_collector.model.alerts import AlertState, Health, Instance, RuleId, RuleState
from lapwing_collector.rules import load_rules

HOSTILE = "<script>alert(1)</script>' onload=\"x"
RULES = f"""
groups:
  - name: night
    interval: 1h
    labels: {{model: churn}}
    rules:
      # Not part of the next one.
      - alert: Slow
        expr: |
          SELECT version, avg(duration_ms) AS value
          FROM predictions.churn
          WHERE time >= $window_start AND time < $window_end
          GROUP BY ALL
        condition: value > 250   # ms
        for: 1h30m   # long
      # Nor of this one.
      - alert: Odd
        expr: FROM accuracy('churn', $window_start, $window_end)
        condition: value < 0.8 OR value IS NULL
        enabled: false
      - record: mean_age
        expr: SELECT avg(inputs.age) AS value FROM predictions.churn WHERE time < $window_end
      - alert: {json.dumps(HOSTILE)}
        expr: SELECT 1 AS value, '</pre>{HOSTILE.replace("'", "''")}' AS label
"""
SLOT = datetime(2026, 1, 1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    with readers(make_lake(tmp_path_factory.mktemp("data") / "lake")) as found:
        yield found


@pytest.fixture(scope="module")
def web(shared: Readers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Rules of which one fires for one version, one fails and two were never evaluated."""
    folder = tmp_path_factory.mktemp("web")
    file = folder / "rules.yaml"
    file.write_text(RULES, encoding="utf-8")
    rules = load_rules(RULES, "rules.yaml")
    states = {
        RuleId("night", "Slow"): RuleState(
            "x",
            slot=SLOT,
            instances={
                "a": Instance("a", {"version": "1"}, state=AlertState.FIRING, value=310.5),
                "b": Instance("b", {"version": "2"}, value=20.0),
            },
        ),
        RuleId("night", HOSTILE): RuleState("x", slot=SLOT, health=Health.ERROR, error=HOSTILE),
    }
    reads = rule_reads(lambda: rules, lambda: states, lambda: [folder / "away.yaml", file])
    with web_server(shared, folder, reads={"telemetry": lambda _: [], **reads}) as running:
        yield running


def seen(page: str) -> str:
    """The text of a page, without its elements."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def page_of(web: Web, address: str) -> str:
    """The HTML at an address."""
    answer = web.get(address, Accept="text/html")
    assert answer.status == 200, answer.body
    return answer.body.decode()


def test_every_rule_is_listed_the_worst_first(web: Web) -> None:
    """What fires stands first, then what fails; with value, condition, last and next evaluation."""
    page = page_of(web, "/rules")
    names = re.findall(r"<td><a href=\"/rule\?rule=[^\"]+\"><b>(.*?)</b>", page)
    assert names[0] == "Slow"
    assert "script" in names[1]
    assert names[2:] == ["Odd", "mean_age"]
    text = seen(page)
    assert "1 of 4 rules fires , 1 could not be judged" in text
    assert (
        "Slow night churn firing value > 250 for 1 h 30 min 310.5 1 2026-01-01 00:00 2026-01-01 01:00" in text
    )
    assert "Odd night churn off" in text
    assert "mean_age night churn not yet records" in text


def test_a_rule_is_shown_as_its_file_has_it(web: Web) -> None:
    """The page has the rule's own lines with their comments, and those of no other rule."""
    page = page_of(web, "/rule?rule=night/Slow")
    text = unescape(page)
    assert "rules.yaml</code>, line 8." in text
    assert '<pre tabindex="0">alert: Slow\nexpr: |\n  SELECT version' in text
    assert "condition: value > 250   # ms\nfor: 1h30m   # long</pre>" in text
    assert "Nor of this one" not in page
    assert "-- rule night/Slow\nSELECT *, (\nvalue > 250\n)" in text


def test_what_a_rule_can_be_tried_with(web: Web) -> None:
    """A condition of one number has a threshold to pull; another one is a text; what records has neither."""
    page = page_of(web, "/rule?rule=night/Slow")
    assert 'data-backtest="night/Slow" data-sign="&gt;"' in page
    assert re.search(r'<input type="range"[^>]* min="0" max="500.0"[^>]* value="250.0"', page)
    assert 'value="1h30m"' in page
    odd = page_of(web, "/rule?rule=night/Odd")
    assert 'value="value &lt; 0.8 OR value IS NULL"' in odd
    assert 'type="range"' not in odd
    recorded = page_of(web, "/rule?rule=night/mean_age")
    assert "data-backtest" not in recorded
    assert "/api/v1/panels/model/recorded?model=churn&amp;metric=mean_age" in recorded
    assert "rule.js" not in recorded


def test_a_rule_of_a_group_for_models_is_found(tmp_path: Path, shared: Readers) -> None:
    """A rule that stands for a model is shown with the lines it is made of; if its file broke, without."""
    text = "groups:\n- {name: g, for_each_model: '*', rules: [{alert: A, expr: 'SELECT 1 AS value'}]}\n"
    file = tmp_path / "rules.yaml"
    file.write_text(text, encoding="utf-8")
    rules = load_rules(text.replace("for_each_model: '*', ", "").replace("name: g", "name: 'g[churn]'"), "r")
    reads = rule_reads(lambda: rules, dict, lambda: [file])
    document = reads["rules/{rule:path}"]({"rule": "g[churn]/A"})
    assert document["file"] == {
        "name": str(file),
        "line": 2,
        "text": "{alert: A, expr: 'SELECT 1 AS value'}",
    }
    file.write_text("groups: [", encoding="utf-8")
    assert reads["rules/{rule:path}"]({"rule": "g[churn]/A"})["file"] is None


def test_hostile_rules_are_harmless(web: Web) -> None:
    """Markup in names, SQL, errors and files is shown as text."""
    for address in ("/rules", f"/rule?rule={quote('night/' + HOSTILE)}", f"/rule?rule={quote(HOSTILE)}x"):
        page = web.get(address, Accept="text/html").body.decode()
        assert "<script>alert" not in page
        assert 'onload="' not in page
        assert "&lt;script&gt;" in page


def test_a_rule_that_is_not_there(web: Web, shared: Readers, tmp_path: Path) -> None:
    """A page for a rule that nobody knows says so, and one without rules says how to begin."""
    assert "there is no rule" in web.get("/rule?rule=zz", Accept="text/html").body.decode()
    assert "say which rule" in web.get("/rule", Accept="text/html").body.decode()
    desk = Desk(tmp_path)
    desk.store.close()
    with web_server(shared, desk.folder) as empty:
        assert "There are no rules yet" in page_of(empty, "/rules")
