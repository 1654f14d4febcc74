"""Rules over a real lake: a broken one costs itself, and each model has its own time."""

import threading
from datetime import datetime, timedelta
from pathlib import Path

from helpers.collector import ask, prediction, project, request, running
from helpers.waiting import wait_until
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.rule_tools.admin import advance_rules
from lapwing_collector.clock import epoch_ns
from lapwing_collector.model.alerts import RuleId
from lapwing_collector.state import Store

START = datetime(2026, 1, 1)
HOUR = timedelta(hours=1)

RULES = """
groups:
  - name: g
    interval: 1h
    rules:
"""
COUNTED = """
      - record: {name}
        model: x
        expr: |
          SELECT count(*) AS value FROM predictions."{table}"
          WHERE time >= $window_start AND time < $window_end
"""
BROKEN = """
      - record: broken
        model: x
        expr: |
          SELECT count(*) AS value, 'infinity'::TIMESTAMP AS never FROM predictions.m
          WHERE time >= $window_start AND time < $window_end
"""


def configured(folder: Path, rules: str) -> Path:
    (folder / "lapwing.yaml").write_text("clock: data\nrules: [rules.yaml]\n")
    (folder / "rules.yaml").write_text(RULES + rules)
    return folder / "lapwing.yaml"


def hourly(model: str, hours: int) -> bytes:
    """A prediction every ten minutes."""
    moments = [START + timedelta(minutes=10 * i) for i in range(6 * hours + 1)]
    return request(
        [prediction(model, f"{model}{i}", epoch_ns(at), inputs={"x": i}) for i, at in enumerate(moments)]
    )


def slots(data: Path, wanted: dict[str, datetime]) -> dict[str, datetime | None]:
    """The newest slot of each rule, once those wanted were reached."""
    store = Store.open(DataDirectory(data).state)
    pause = threading.Event()
    try:
        for _ in range(400):
            found = {rule.name: state.slot for rule, state in store.load_rules().items()}
            if all((slot := found.get(name)) is not None and slot >= at for name, at in wanted.items()):
                return found
            pause.wait(0.05)
        raise AssertionError(f"not reached: {found}")
    finally:
        store.close()


def test_a_broken_rule_costs_only_itself(tmp_path: Path) -> None:
    """A rule whose result nobody can read is told as failing, slot by slot, beside one that goes on."""
    config = configured(tmp_path, BROKEN + COUNTED.format(name="fine", table="m"))
    data = tmp_path / "data"
    with running(project(data, config)) as collector:
        assert collector.post(hourly("m", 5))[0] == 200
        slots(data, {"fine": START + 4 * HOUR, "broken": START + 4 * HOUR})
    store = Store.open(DataDirectory(data).state)
    states = store.load_rules()
    store.close()
    assert states[RuleId("g", "fine")].error is None
    assert states[RuleId("g", "broken")].error


def test_an_alert_keeps_the_rows_behind_it_without_its_secrets(tmp_path: Path) -> None:
    """What is behind an alert is looked up when it fires; a sample that fails does not hold the alert up."""
    alert = COUNTED.replace("record: {name}", "alert: {name}").replace("        model: x\n", "")
    shown = """
        condition: value > 0
        sample:
          expr: {expr}
          redact: [X]
"""
    rows = """|
            SELECT prediction_id, inputs, tags FROM predictions.m
            WHERE time >= $window_start AND time < $window_end ORDER BY time DESC"""
    config = configured(
        tmp_path,
        alert.format(name="shown", table="m")
        + shown.format(expr=rows)
        + alert.format(name="failing", table="m")
        + shown.format(expr="SELECT nothing FROM predictions.m"),
    )
    data = tmp_path / "data"
    with running(project(data, config)) as collector:
        assert collector.post(hourly("m", 2))[0] == 200
        slots(data, {"shown": START + HOUR, "failing": START + HOUR})
    store = Store.open(DataDirectory(data).state)
    samples = {event.rule.name: event.sample for event in store.history()}
    store.close()
    assert samples["failing"] == ()
    assert [row["prediction_id"] for row in samples["shown"]] == ["m5", "m4", "m3", "m2", "m1"]
    assert samples["shown"][0] == {"prediction_id": "m5", "inputs": {"x": "[redacted]"}, "tags": {}}


def test_late_rows_raise_an_alert_that_they_show(tmp_path: Path) -> None:
    """A closed slot that late rows make bad fires with the next slot, once, and resolves as any other."""
    peak = COUNTED.replace("record: {name}", "alert: {name}").replace("        model: x\n", "")
    late = peak.replace("count(*)", "max(inputs.x)") + "        condition: value > 1000\n"
    config = configured(tmp_path, late.format(name="peak", table="m") + "        check_late: 6h\n")
    data = tmp_path / "data"
    rule = RuleId("g", "peak")
    with running(project(data, config)) as collector:
        assert collector.post(hourly("m", 5))[0] == 200
        slots(data, {"peak": START + 4 * HOUR})
        at = START + 2 * HOUR + timedelta(minutes=30)
        assert collector.post(request([prediction("m", "late", epoch_ns(at), inputs={"x": 9999})]))[0] == 200
        store = Store.open(DataDirectory(data).state)
        wait_until(lambda: bool(store.touched(rule)))
        assert collector.post(request([prediction("m", "next", epoch_ns(START + 7 * HOUR))]))[0] == 200
        slots(data, {"peak": START + 6 * HOUR})
        wait_until(lambda: not store.touched(rule))
        told = [(event.status, event.slot - START) for event in store.history()[::-1]]
        store.close()
    assert told == [("firing", 3 * HOUR), ("resolved", 5 * HOUR)]


def test_models_that_differ_by_case_have_their_own_time(tmp_path: Path) -> None:
    """Rows of `Churn` close no slot of `churn`, which is another table."""
    rules = COUNTED.format(name="small", table="churn") + COUNTED.format(name="big", table="Churn~2")
    config = configured(tmp_path, rules)
    data = tmp_path / "data"
    with running(project(data, config)) as collector:
        assert collector.post(hourly("churn", 1))[0] == 200
        assert collector.post(hourly("Churn", 6))[0] == 200
        found = slots(data, {"big": START + 5 * HOUR})
    assert found.get("small") is None


def test_the_end_of_a_replay_counts_every_acknowledged_row(tmp_path: Path) -> None:
    """Slots closed right after the last answer hold all its rows, however slowly the lake is written."""
    config = configured(tmp_path, COUNTED.format(name="n", table="m"))
    data = tmp_path / "data"
    slow = {"write.flush_interval": "1s"}
    with running(project(data, config, **slow)) as collector:
        assert collector.post(hourly("m", 3))[0] == 200
        advance_rules(config, {"data": data}, (START + 4 * HOUR).isoformat())
        slots(data, {"n": START + 4 * HOUR})
    rows = ask(data, "SELECT value FROM metric_values ORDER BY window_start")
    assert [row["value"] for row in rows] == [6, 6, 6, 1]
