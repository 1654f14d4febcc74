"""`lapwing collect` and `lapwing serve`: the parts of `lapwing up`, each a process of its own."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from helpers.collector import prediction, request
from helpers.faults_victim import Victim
from helpers.notify_receivers import Webhook, webhook
from helpers.waiting import wait_until
from lapwing_collector.app.places.arrangement import Arrangement
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.places.owner_socket import OwnerSocket
from lapwing_collector.app.processes.collector import _at_the_collector
from lapwing_collector.app.upkeep.doctor import examine
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.config import Settings, load_settings
from lapwing_collector.errors import ConfigError, UnavailableError
from lapwing_collector.model.replicas import Arrival
from lapwing_collector.state import PostgresServer, Store

if TYPE_CHECKING:
    from helpers.postgres import Server

# Slots of five minutes ago are complete whether more rows come or not.
RULES = """
groups:
  - name: g
    interval: 1s
    rules:
      - alert: Any
        query_offset: 5m
        expr: SELECT count(*) AS value FROM predictions.m
        condition: value > 0
      - record: rows
        query_offset: 5m
        model: m
        expr: SELECT count(*) AS value FROM predictions.m
"""


class Pair:
    """A collector and a server over one data directory, and whom they tell."""

    def __init__(self, folder: Path, url: str, told: Webhook) -> None:
        (folder / "rules").mkdir()
        (folder / "rules" / "any.yaml").write_text(RULES)
        receivers = [{"name": "all", "apprise_configs": [{"name": "hook", "url": told.url()}]}]
        notify = {"route": {"receiver": "all", "group_wait": "0s"}, "receivers": receivers}
        (folder / "notify.yaml").write_text(yaml.safe_dump(notify))
        settings = {
            "write": {"flush_interval": "50ms"},
            "alerts": {"ingest_stalled": False},
            "state": {"url": url},
        }
        self.told = told
        self.url = url
        self.collect = Victim(folder / "data", settings, arrangement="collect")
        self.serve = Victim(folder / "data", settings, arrangement="serve")

    def get(self, of: Victim, path: str) -> tuple[int, str]:
        connection = HTTPConnection(of.web, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def arrivals(self) -> list[Arrival]:
        """What whoever judges has been told of new rows."""
        with closing(Store.find(PostgresServer(self.url))) as store:
            return store.arrivals(0)

    def ask(self, sql: str) -> Any:
        status, text = self.get(self.serve, f"/api/v1/sql?sql={sql.replace(' ', '+')}")
        return json.loads(text) if status == 200 else None


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, postgres: "Server") -> Iterator[Pair]:
    """Both run, a row came in, and somebody was told of it."""
    with webhook() as told:
        made = Pair(tmp_path_factory.mktemp("pair"), postgres.empty(), told)
        try:
            made.collect.launch()
            wait_until(lambda: made.collect.ready)
            made.serve.launch()
            assert made.collect.post(request([prediction("m", "p", time.time_ns(), inputs={"x": 1})])) == 200
            wait_until(lambda: bool(told.inbox.items), 120)
            yield made
        finally:
            made.serve.clear()
            made.collect.clear()


def test_what_one_receives_the_other_answers(pair: Pair) -> None:
    """A row is asked for at the server, and judged by it; what a rule records gets into the lake."""
    assert pair.ask("SELECT count(*) AS n FROM predictions.m") == [{"n": 1}]
    wait_until(lambda: bool(pair.ask("SELECT 1 AS n FROM metric_values WHERE metric = 'rows' LIMIT 1")))
    status, page = pair.get(pair.serve, "/system")
    assert status == 200
    assert {f"http://{each.web}" in page for each in (pair.serve, pair.collect)} == {True}


def test_each_tells_of_what_it_does(pair: Pair) -> None:
    """Health and metrics are at both, pages at one; ready is who can do its part."""
    for each in (pair.serve, pair.collect):
        assert pair.get(each, "/healthz")[0] == 200
        assert pair.get(each, "/readyz")[0] == 200
    collects, serves = (pair.get(each, "/metrics")[1] for each in (pair.collect, pair.serve))
    assert "lapwing_rows_total" in collects
    assert "lapwing_leads" not in collects
    assert "lapwing_rows_total" not in serves
    assert "lapwing_leads 1.0" in serves
    assert pair.get(pair.collect, "/")[0] == 404
    assert pair.get(pair.collect, "/api/v1/sql?sql=SELECT+1")[0] == 404
    assert json.loads(pair.get(pair.collect, "/api/v1/replicas")[1])["leader"] is not None


def test_pages_of_one_hear_what_the_other_receives(pair: Pair) -> None:
    """A browser at the server is told of rows that the collector wrote, though the server wrote none."""
    page = pair.get(pair.serve, "/model?name=m")[1]
    since = re.search(r'data-news="([^"]*)"', page)
    assert since is not None
    with closing(HTTPConnection(pair.serve.web, timeout=60)) as connection:
        connection.request("GET", f"/api/v1/events?since={since[1]}")
        stream = connection.getresponse()
        assert pair.collect.post(request([prediction("heard", "p", time.time_ns(), inputs={"x": 1})])) == 200
        told = (json.loads(line[6:]) for line in stream if line.startswith(b"data: "))
        assert any("model:heard" in news for news in told)


def test_commands_find_who_does_it(pair: Pair) -> None:
    """On their machine, a command reaches the collector or the server, whichever does such things."""
    reloaded = pair.serve.run("rules", "reload")
    assert (reloaded.returncode, reloaded.stdout.splitlines()[0]) == (0, "2 rules")
    assert pair.serve.run("compact").returncode == 0
    said = " ".join(pair.serve.run("doctor").stdout.split())
    assert "2 share the alert state" in said
    assert f"http://{pair.serve.web} (serve) leads" in said


def settings(**flags: str) -> Settings:
    return load_settings(None, flags=flags, environment={})


def test_a_lake_of_several_needs_a_state_of_several() -> None:
    """Whoever may be one of several is refused where each would judge; one alone, or one of those, is not."""
    lake, state = {"lake.catalog": "postgresql://me@db/lake"}, {"state.url": "postgresql://me@db/alerts"}
    with pytest.raises(ConfigError, match=r"lake\.catalog: .* set `state\.url`"):
        Arrangement.UP.check(settings(**lake))
    Arrangement.UP.check(settings())
    Arrangement.UP.check(settings(**{"lake.data": "s3://bucket/lake"}))
    for each in Arrangement:
        each.check(settings(**lake, **state))


def test_the_doctor_tells_of_a_lake_whose_collectors_would_each_judge(tmp_path: Path) -> None:
    """It says what a start says, and asks no server for it."""
    flags = {"data": tmp_path, "lake.catalog": "postgresql://me@127.0.0.1:1/lake"}
    [told] = [each for each in examine(None, flags, tell_nobody) if each.wrong]
    assert (told.subject, "set `state.url`" in told.text) == ("settings", True)


@pytest.mark.parametrize("arrangement", ["collect", "serve"])
def test_parts_need_a_state_that_they_share(arrangement: str, tmp_path: Path) -> None:
    """Without one, the command says what to do, and nothing is left of it."""
    alone = Victim(tmp_path / "data", {}, arrangement=arrangement)
    try:
        alone.launch()
        assert alone.died() == 1
        assert (
            f"lapwing {arrangement}: what is divided among processes needs a state that they share"
            in alone.said()
        )
    finally:
        alone.clear()


def test_who_shares_the_state_shares_the_lake(pair: Pair, tmp_path: Path) -> None:
    """A collector with a lake of its own is refused: rules would not see what it receives."""
    other = Victim(tmp_path / "data", pair.collect.settings, arrangement="collect")
    try:
        other.launch()
        assert other.died() == 1
        assert f"another collector works with this state (http://{pair.collect.web})" in other.said()
    finally:
        other.clear()


def test_a_server_does_not_ask_itself(tmp_path: Path) -> None:
    """What only a collector can do is told to be missing where a server runs by itself."""
    serving = DataDirectory(tmp_path).serving.root
    serving.mkdir()
    own = OwnerSocket.open(serving)
    own.take({})
    try:
        for name, order in _at_the_collector(settings(data=str(tmp_path))).items():
            with pytest.raises(UnavailableError, match=f"^{name}: no collector runs on this machine"):
                order({}, tell_nobody)
    finally:
        own.close()


def test_a_command_brings_rows_beside_them(pair: Pair, tmp_path: Path) -> None:
    """Where no collector runs, an import needs nobody's lead; whoever judges hears of what it brought."""
    file = tmp_path / "truth.csv"
    file.write_text("prediction_id,label\np,1\n")
    apart = Victim(tmp_path / "data", pair.collect.settings)
    config = apart.data.with_name(apart.data.name + ".yaml")
    config.write_text(yaml.safe_dump(dict(apart.settings)))
    done = apart.run("labels", "import", str(file), "--model", "n", "--new-model")
    assert done.returncode == 0, done.stderr
    assert "n" in [each.table for each in pair.arrivals()]
