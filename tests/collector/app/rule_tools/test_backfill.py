"""`lapwing rules run`: the past of rules is evaluated as if they had been there, collector or not."""

import json
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from helpers.collector import ask, project, running
from helpers.waiting import wait_until
from lapwing_collector.app.importing.imports import import_predictions
from lapwing_collector.app.judging.judging import Judging
from lapwing_collector.app.judging.recomputing import Recomputing
from lapwing_collector.app.rule_tools.admin import reload_files
from lapwing_collector.app.rule_tools.backfill import run_rules
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.cli.main import app
from lapwing_collector.errors import ConfigError
from lapwing_collector.model.alerts import Status
from lapwing_collector.state import Delivery, Store

RULES = """
groups:
  - name: g
    interval: 1d
    rules:
      - record: seen
        model: m
        query_offset: 6h
        expr: |
          SELECT count(*) AS value FROM predictions.m
          WHERE time >= $window_start AND time < $window_end HAVING count(*) > 0
      - alert: Busy
        expr: |
          SELECT count(*) AS value FROM predictions.m WHERE time >= $window_start AND time < $window_end
        condition: value > 1
"""
NOTIFY = """
route: {receiver: team}
receivers:
  - name: team
    apprise_configs: [{name: hook, url: "json://127.0.0.1:9/"}]
"""
ROWS = (
    "time,x\n2026-01-01T12:00,1\n2026-01-02T12:00,2\n2026-01-02T13:00,3\n2026-01-02T20:00,3\n2026-01-04,4\n"
)
STORED = "SELECT window_start, value FROM metric_values_latest WHERE metric = 'seen' ORDER BY ALL"
WANTED = [
    {"window_start": datetime(2025, 12, 31, 18), "value": 1.0},
    {"window_start": datetime(2026, 1, 1, 18), "value": 2.0},
    {"window_start": datetime(2026, 1, 2, 18), "value": 1.0},
]


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that has predictions."""
    folder = tmp_path_factory.mktemp("predicted")
    (folder / "rows.csv").write_text(ROWS)
    flags = {"data": folder / "data"}
    import_predictions(None, flags, tell_nobody, folder / "rows.csv", "m", None, (), None, None, None)
    return folder / "data"


@pytest.fixture
def config(predicted: Path, tmp_path: Path) -> Path:
    """Settings of a data directory that has predictions, and rules that it never saw."""
    (tmp_path / "lapwing.yaml").write_text(
        "rules: [rules.yaml]\nnotify: notify.yaml\nwrite: {flush_interval: 10ms}\n"
    )
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "notify.yaml").write_text(NOTIFY)
    shutil.copytree(predicted, tmp_path / "data")
    return tmp_path / "lapwing.yaml"


def run(config: Path, *names: str, **more: Any) -> Any:
    flags = {"data": config.parent / "data"}
    return run_rules(config, flags, tell_nobody, names, "2025-12-31", "2026-01-03T22:00+04:00", **more)


def test_the_past_is_stored_without_a_collector(config: Path) -> None:
    """Windows that end in the span get their values, once; alerts are listed, and nobody is told."""
    data = config.parent / "data"
    for _ in range(2):
        seen, busy = run(config)
        assert (seen.windows, seen.failed, seen.error) == (3, 0, None)
        assert ask(data, STORED) == WANTED
    assert ask(data, "SELECT count(*) AS n FROM metric_values") == [{"n": 3}]
    assert [(t.status, t.slot, t.instance.value) for t in busy.transitions] == [
        (Status.FIRING, datetime(2026, 1, 3), 3.0)
    ]
    store = Store.open(data / "state.sqlite")
    assert (store.unsent(), store.history()) == (0, [])
    store.close()


def test_the_collector_that_runs_evaluates_the_past(config: Path) -> None:
    """It is asked to, and goes on from there: a row that comes late then changes a window of that past."""
    data = config.parent / "data"
    with running(project(data, config)) as collector:
        (seen,) = run(config, "g/seen")
        assert (seen.windows, seen.failed) == (3, 0)
        wait_until(lambda: collector.ask(STORED) == WANTED)
        late = config.parent / "late.csv"
        late.write_text("time,x\n2026-01-01T12:30,1\n")
        import_predictions(config, {"data": data}, tell_nobody, late, "m", None, (), None, None, None)
        wanted = [WANTED[0] | {"value": 2.0}, *WANTED[1:]]
        wait_until(lambda: collector.ask("SELECT count(*) AS n FROM predictions.m") == [{"n": 6}])
        run(config, "g/seen")  # a window that changed a moment ago rests; asked for, it does not
        wait_until(lambda: collector.ask(STORED) == wanted)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a collector of this process is asked to evaluate the past of a rule."""
    found, run_rule = threading.Event(), Judging.run_rule

    def asking(judging: Judging, *what: Any) -> Mapping[str, Any]:
        found.set()
        return run_rule(judging, *what)

    monkeypatch.setattr(Judging, "run_rule", asking)
    return found


def test_who_asks_a_collector_that_begins_is_answered_once_it_has(
    config: Path, asked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules begin after the port is open; until then they are not unknown, but to come."""
    may_begin, prepare = threading.Event(), Judging.prepare

    def prepared(judging: Judging) -> None:
        assert may_begin.wait(60)
        prepare(judging)

    monkeypatch.setattr(Judging, "prepare", prepared)
    with running(project(config.parent / "data", config)), ThreadPoolExecutor(1) as pool:
        answer = pool.submit(run, config, "g/seen")
        assert asked.wait(60)
        may_begin.set()
        (seen,) = answer.result(60)
        assert (seen.windows, seen.failed) == (3, 0)


def test_rules_that_were_just_read_again_are_known(
    config: Path, asked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that a reload brought is evaluated, though the past is looked at a moment later."""
    data, work = config.parent / "data", Recomputing.work
    with running(project(data, config)):
        monkeypatch.setattr(Recomputing, "work", lambda _: False)
        (config.parent / "rules.yaml").write_text(RULES.replace("record: seen", "record: counted"))
        reload_files(config, {"data": data})
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(run, config, "g/counted")
            assert asked.wait(60)
            monkeypatch.setattr(Recomputing, "work", work)
            (counted,) = answer.result(60)
    assert (counted.windows, counted.failed) == (3, 0)


def test_people_are_told_if_that_is_wanted(config: Path) -> None:
    """With --notify a digest of what was is in the outbox, once however often it is asked."""
    for _ in range(2):
        words = ["rules", "run", "g/Busy", "--from", "2026-01-01", "--to", "2026-01-04", "--notify", "--json"]
        paths = ["--config", str(config), "--data", str(config.parent / "data")]
        done = CliRunner().invoke(app, [*words, *paths])
        assert done.exit_code == 0
    (past,) = json.loads(done.stdout)
    assert [transition["status"] for transition in past["transitions"]] == ["firing", "resolved"]
    store = Store.open(config.parent / "data" / "state.sqlite")
    (row,) = store.outbox_rows()
    assert (row.delivery, row.message.status) == (Delivery.QUEUED, Status.RESOLVED)
    store.close()


def test_what_cannot_be_run_is_told(config: Path) -> None:
    """A rule that there is not, and a time that is none."""
    with pytest.raises(
        ConfigError, match="there is no rule 'g/Seen' among the 2 of this project; did you mean g/seen"
    ):
        run(config, "g/Seen")
    with pytest.raises(ConfigError, match="--to: expected a time"):
        run_rules(config, {"data": config.parent / "data"}, tell_nobody, (), "2026-01-01", "later")


def test_a_misspelt_name_is_told(config: Path) -> None:
    """A rule over a model or field that has not come fails in nothing, but says so."""
    paths = ["--config", str(config), "--data", str(config.parent / "data")]
    words = ["rules", "run", "--from", "2026-01-01", "--to", "2026-01-03", *paths]
    for right, wrong, told in (
        ("predictions.m\n", "predictions.mm\n", "mm does not exist"),
        ("count(*)", "count(inputs.y)", '"y"'),
    ):
        assert right in RULES
        (config.parent / "rules.yaml").write_text(RULES.replace(right, wrong))
        done = CliRunner().invoke(app, [*words, "--json"])
        assert done.exit_code == 0
        pasts = {past["rule"]: past for past in json.loads(done.stdout)}
        assert pasts["g/seen"]["failed"] == 0
        assert told in pasts["g/seen"]["not_seen"]
    assert "no data: " in CliRunner().invoke(app, words).stdout
    (config.parent / "rules.yaml").write_text(RULES)
    assert "no data: " not in CliRunner().invoke(app, words).stdout
