"""Rules that come and go while a collector runs: with the files that it reads again, and with models."""

import json
import re
import threading
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from helpers.collector import Collector, prediction, project, request, running
from helpers.notify_receivers import Webhook, webhook
from helpers.waiting import wait_until
from lapwing_collector.app.judging import judging
from lapwing_collector.app.judging.alerting import Alerting
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.rule_tools.admin import reload_files
from lapwing_collector.cli.main import app
from lapwing_collector.clock import epoch_ns
from lapwing_collector.errors import ConfigError, DataDirectoryError, StateUnavailableError, UnavailableError
from lapwing_collector.state import Store

START = datetime(2026, 1, 1)
MINUTE = timedelta(minutes=1)
RULES = """
groups:
  - name: g
    interval: 1h
    rules:
      - alert: Busy
        expr: SELECT count(*) AS value FROM predictions."churn-eu" WHERE time < $window_end
        condition: value > 0
      - record: {record}
        model: x
        expr: SELECT count(*) AS value FROM predictions."churn-eu" WHERE time < $window_end
  - name: each
    interval: 1h
    for_each_model: "churn-*"
    rules:
      - alert: Any
        expr: SELECT count(*) AS value FROM predictions.{{{{ model }}}} WHERE time < $window_end
        condition: value > {limit}
"""


def written(folder: Path, record: str = "old", limit: int = 0) -> Path:
    (folder / "lapwing.yaml").write_text("clock: data\nrules: [rules.yaml]\n")
    written_rules(folder, record, limit)
    return folder / "lapwing.yaml"


def written_rules(folder: Path, record: str = "old", limit: int = 0) -> None:
    (folder / "rules.yaml").write_text(RULES.format(record=record, limit=limit))


def send(collector: Collector, model: str, hours: int, first: int = 0) -> None:
    moments = [START + 10 * number * MINUTE for number in range(6 * first, 6 * (first + hours) + 1)]
    rows = [prediction(model, f"{model}{at:%d%H%M}", epoch_ns(at), inputs={"x": 1}) for at in moments]
    assert collector.post(request(rows))[0] == 200


def test_rules_come_and_go_while_the_collector_runs(tmp_path: Path) -> None:
    """Each model has its rules from its first row on; a reload keeps what fires and refuses mistakes."""
    config, data = written(tmp_path), tmp_path / "data"

    def reached(hour: int) -> set[str]:
        slot = START + timedelta(hours=hour)
        return {str(rule) for rule, state in store.load_rules().items() if state.slot and state.slot >= slot}

    def told() -> list[tuple[str, str, str, str]]:
        history = store.history()
        return sorted(
            (str(each.rule), each.instance.labels.get("model", ""), str(each.status), each.reason)
            for each in history
        )

    with running(project(data, config)) as collector:
        store = Store.open(DataDirectory(data).state)
        send(collector, "churn-eu", 3)
        send(collector, "other", 3)
        wait_until(lambda: reached(2) == {"g/Busy", "g/old", "each[churn-eu]/Any"})
        send(collector, "churn-us", 3)
        wait_until(lambda: "each[churn-us]/Any" in reached(2))
        fired = {str(rule): instance.fired_at for rule, instance in store.alerts()}
        assert fired.keys() == {"g/Busy", "each[churn-eu]/Any", "each[churn-us]/Any"}

        written(tmp_path, record="new", limit=-1)
        answer = CliRunner().invoke(
            app, ["rules", "reload", "--config", str(config), "--data", str(data), "--json"]
        )
        assert json.loads(answer.stdout) == {
            "rules": 4,
            "builtin": 0,
            "added": ["g/new"],
            "changed": ["each[churn-eu]/Any", "each[churn-us]/Any"],
            "removed": ["g/old"],
            "targets": {"added": [], "changed": [], "removed": []},
        }
        (tmp_path / "rules.yaml").write_text("groups: [{name: g, rulez: []}]")
        with pytest.raises(ConfigError, match="did you mean rules"):
            reload_files(config, {"data": data})

        for model in MODELS:
            send(collector, model, 3, first=3)
        wait_until(lambda: reached(5) == {"g/Busy", "g/new", "each[churn-eu]/Any", "each[churn-us]/Any"})
        assert told() == [
            *(
                (f"each[{model}]/Any", model, *how)
                for model in ("churn-eu", "churn-us")
                for how in FIRES_AGAIN
            ),
            ("g/Busy", "", "firing", ""),
        ]
        assert {str(rule): at for rule, at in fired.items()}["g/Busy"] == START + timedelta(hours=1)
        assert "g/old" not in {str(rule) for rule in store.load_rules()}
        store.close()
    written(tmp_path, record="new", limit=-1)
    with running(project(data, config)) as collector:  # the rules of models are there again
        store = Store.open(DataDirectory(data).state)
        send(collector, "churn-eu", 1, first=6)
        wait_until(lambda: {"g/Busy", "g/new", "each[churn-eu]/Any"} <= reached(6))
        assert [what for what in told() if what[3] == "rule_deleted"] == []
        store.close()


MODELS = ("churn-eu", "churn-us")
FIRES_AGAIN = [("firing", ""), ("firing", ""), ("resolved", "rule_changed")]


def test_files_that_are_read_again_while_rules_begin_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a start looks up of the files before does not take the place of what was read since."""
    config, data = written(tmp_path), tmp_path / "data"
    begins, again, use = threading.Event(), threading.Event(), Alerting.use

    def slowly(alerting: Alerting, *rules: Any, **how: Any) -> None:
        if not begins.is_set():
            begins.set()
            again.wait(1)  # it cannot be over before this is; where it can, it is at once
        use(alerting, *rules, **how)

    def away(*_: object) -> dict[str, str]:
        raise StateUnavailableError("who has models follows files, too")

    def read_again() -> Mapping[str, Any]:
        told = reload_files(config, {"data": data})
        again.set()
        return told

    monkeypatch.setattr(judging, "models_in", away)
    monkeypatch.setattr(Alerting, "use", slowly)
    with running(project(data, config)) as collector, ThreadPoolExecutor(1) as pool:
        assert begins.wait(60)
        written_rules(tmp_path, "new")
        assert pool.submit(read_again).result(60)["added"] == ["g/new"]
        with urllib.request.urlopen(f"http://{collector.web}/api/v1/rules/g/new") as answer:
            assert json.load(answer)["name"] == "new"


def test_there_is_nobody_to_read_files_again(tmp_path: Path) -> None:
    """Without a collector, `rules reload` says that there is none."""
    with pytest.raises(DataDirectoryError, match="no collector runs here"):
        reload_files(written(tmp_path), {"data": tmp_path / "data"})


NOTIFY = """
route: {receiver: team, group_by: ['...'], group_wait: 0s, group_interval: 0s}
receivers:
  - name: team
    fallback: rest
    apprise_configs:
      CONFIGS
  - {name: rest, apprise_configs: [{name: stays, url: "STAYS"}]}
"""


@pytest.mark.parametrize("step", ["regroup", "look_again", "looked_through"])
def test_files_are_followed_once_the_state_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Wherever the state goes away while files are read again: it is said so, and nothing stays half done."""
    monkeypatch.setattr("lapwing_collector.app.judging.judging._AGAIN_S", 0.1)
    config, data = written(tmp_path), tmp_path / "data"
    with config.open("a") as file:
        file.write("delivery: {allow_networks: [127.0.0.1/32]}\nhttp: {listen: 127.0.0.1:0}\n")
    work = getattr(Store, step)

    def away(*_: object) -> None:
        raise StateUnavailableError("it restarts")

    def notify(name: str, receiver: Webhook) -> None:
        configs = f'- {{name: {name}, url: "{receiver.url()}"}}'
        (tmp_path / "notify.yaml").write_text(NOTIFY.replace("CONFIGS", configs).replace("STAYS", rest.url()))

    with webhook() as old, webhook() as new, webhook() as rest:
        notify("old", old)
        with (
            running(project(data, config)) as collector,
            closing(Store.open(DataDirectory(data).state)) as store,
        ):
            send(collector, "churn-eu", 2)
            old.inbox.wait_for(2)
            written_rules(tmp_path, record="new")
            notify("new", new)
            monkeypatch.setattr(Store, step, away)
            with pytest.raises(UnavailableError, match="as soon as the state is back: it restarts"):
                reload_files(config, {"data": data})
            monkeypatch.setattr(Store, step, work)
            send(collector, "churn-eu", 3, first=2)
            wait_until(lambda: "g/new" in {str(rule) for rule in store.load_rules()})
            new.inbox.wait_for(2)
            told = [request.body["title"].partition(" (")[0] for request in new.inbox.items]
            assert {*told} == {"[FIRING] Busy", "[FIRING] Any"}
            assert rest.inbox.items == []


def test_targets_come_and_go_while_the_collector_runs(tmp_path: Path) -> None:
    """New ones are told, what waits for those gone is told to others, mistakes change nothing."""
    config, data = written(tmp_path), tmp_path / "data"
    with config.open("a") as file:
        file.write("delivery: {allow_networks: [127.0.0.1/32]}\nhttp: {listen: 127.0.0.1:0}\n")

    def notify(*targets: tuple[str, str]) -> None:
        configs = "\n      ".join(f'- {{name: {name}, url: "{url}"}}' for name, url in targets)
        text = NOTIFY.replace("CONFIGS", configs).replace("STAYS", stays.url())
        (tmp_path / "notify.yaml").write_text(text)

    def titles(receiver: Webhook) -> list[str]:
        return [request.body["title"].partition(" (")[0] for request in receiver.inbox.items]

    with webhook(*[503] * 50) as goes, webhook() as comes, webhook() as stays, webhook() as added:
        notify(("goes", goes.url()))
        with running(project(data, config)) as collector:
            send(collector, "churn-eu", 2)
            goes.inbox.wait_for(1)  # and waits to be tried again
            with closing(Store.open(DataDirectory(data).state)) as store:
                wait_until(lambda: store.unsent() == 2)
            notify(("comes", comes.url()), ("broken", "nothing://"))
            (tmp_path / "rules.yaml").write_text("groups: [{name: g, rulez: []}]")
            with pytest.raises(ConfigError) as wrong:
                reload_files(config, {"data": data})
            places = set(re.findall(r"(\w+\.yaml):(\d+)", str(wrong.value)))
            assert places == {("rules.yaml", "1"), ("notify.yaml", "8")}

            written_rules(tmp_path)
            notify(("comes", comes.url()))
            told = reload_files(config, {"data": data})
            assert told["targets"] == {"added": ["comes"], "changed": [], "removed": ["goes"]}
            wait_until(lambda: len(comes.inbox.items) >= 2 and len(stays.inbox.items) >= 2)
            assert set(titles(stays)) == {
                "[UNDELIVERED to goes] [FIRING] Busy",
                "[UNDELIVERED to goes] [FIRING] Any",
            }
            assert set(titles(comes)) == {"[FIRING] Busy", "[FIRING] Any"}
            dead = CliRunner().invoke(app, ["dead", "--config", str(config), "--data", str(data), "--json"])
            assert {each["error"] for each in json.loads(dead.stdout)} == {
                "the notify file has no target of this name any more"
            }

            paths = ["--config", str(config), "--data", str(data)]
            answer = CliRunner().invoke(app, ["notify", "add", added.url(), "--name", "late", *paths])
            assert answer.exception is None, answer.exception
            assert answer.output.splitlines()[-1] == "the collector that runs has it"
            asked = urllib.request.Request(
                f"http://{collector.web}/api/v1/admin/reload", b"{}", {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(asked, timeout=30) as response:
                assert json.load(response)["targets"] == {"added": [], "changed": [], "removed": []}
