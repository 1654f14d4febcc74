"""The collector as a whole: what it acknowledged is in the lake once, through restarts and repeats."""

import asyncio
import json
import shutil
import signal
import threading
from contextlib import suppress
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from google.rpc.status_pb2 import Status

from helpers.collector import ask, label, model_said, prediction, project, request, running
from helpers.waiting import wait_until
from helpers.wal_disk import legacy_frame, write_legacy_log
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.processes.collector import run_collector
from lapwing_collector.clock import SystemClock, epoch_ns
from lapwing_collector.errors import AddressInUseError, DataDirectoryError
from lapwing_collector.lake import Lake
from lapwing_collector.state import Store

DAY = timedelta(days=1)
START = datetime(2026, 1, 1)


def at(**offset: int) -> int:
    return epoch_ns(START + timedelta(**offset))


def test_what_was_acknowledged_is_queryable(tmp_path: Path) -> None:
    """Predictions and labels sent over HTTP are typed rows, joined, after an orderly stop."""
    with running(project(tmp_path)) as collector:
        records = [
            prediction(
                "churn", f"p{i}", at(minutes=i), inputs={"age": i, "plan": None}, output={"late": i > 5}
            )
            for i in range(10)
        ]
        records.append(label("churn", "p7", at(minutes=7), at(days=3), True))
        assert collector.post(request(records)) == (200, b"")
    assert ask(
        tmp_path, "SELECT count(*) AS n, count(label) AS l, sum(inputs.age) AS s FROM labeled.churn"
    ) == [{"n": 10, "l": 1, "s": 45}]


def test_a_repeated_request_is_stored_once(tmp_path: Path) -> None:
    """The same records, sent again before and after a restart, and beside new ones, are there once."""
    first = [prediction("m", f"p{i}", at(minutes=i), inputs={"x": i}, sequence=i) for i in range(1, 6)]
    more = [prediction("m", f"p{i}", at(minutes=i), inputs={"x": i}, sequence=i) for i in range(4, 9)]
    with running(project(tmp_path)) as collector:
        for _ in range(2):
            assert collector.post(request(first, "process-1"))[0] == 200
    with running(project(tmp_path)) as collector:
        assert collector.post(request(first, "process-1"))[0] == 200
        assert collector.post(request(more, "process-1"))[0] == 200
        assert collector.post(request(first, "process-2"))[0] == 200
    assert ask(tmp_path, "SELECT count(*) AS n, sum(inputs.x) AS s FROM predictions.m") == [
        {"n": 13, "s": 51}
    ]


def test_the_log_is_replayed_after_a_crash(tmp_path: Path) -> None:
    """What is durable but not in the lake is written at the next start, and repeats of it are not."""
    body = request(
        [prediction("m", f"p{i}", at(minutes=i), inputs={"x": i}, sequence=i + 1) for i in range(5)], "p"
    )
    directory = DataDirectory(tmp_path)
    Lake.open(directory.lake).close()
    write_legacy_log(directory.log, [legacy_frame(at(hours=1), body)])
    with running(project(tmp_path)) as collector:
        assert collector.post(body)[0] == 200
    assert ask(tmp_path, "SELECT count(*) AS n, min(received_at) AS r FROM predictions.m") == [
        {"n": 5, "r": START + timedelta(hours=1)}
    ]


def test_a_lake_ahead_of_the_journal_is_not_written_twice(tmp_path: Path) -> None:
    """A crash between the lake's commit and the note of it beside the log repeats nothing."""
    with running(project(tmp_path)) as collector:
        collector.post(request([prediction("m", "a", at(), inputs={"x": 1}, sequence=1)], "p"))
    ledger = DataDirectory(tmp_path).ledger
    shutil.copytree(ledger, tmp_path / "before")
    with running(project(tmp_path)) as collector:
        collector.post(request([prediction("m", "b", at(), inputs={"x": 2}, sequence=2)], "p"))
    shutil.rmtree(ledger)
    (tmp_path / "before").rename(ledger)
    with running(project(tmp_path)) as collector:
        collector.post(request([prediction("m", "b", at(), inputs={"x": 2}, sequence=2)], "p"))
    assert ask(tmp_path, "SELECT inputs.x FROM predictions.m ORDER BY 1") == [{"x": 1}, {"x": 2}]


def test_a_body_that_is_no_request_is_refused(tmp_path: Path) -> None:
    """Malformed protobuf gets 400 with a Status that says so; nothing is stored and the collector goes on."""
    with running(project(tmp_path)) as collector:
        status, body = collector.post(b"\xff\xff not protobuf")
        assert status == 400
        assert Status.FromString(body).message
        assert collector.post(request([prediction("m", "a", at(), inputs={"x": 1})]))[0] == 200


def test_records_that_cannot_be_stored_are_counted(tmp_path: Path) -> None:
    """A model name with a control character costs its record, not its neighbours."""
    with running(project(tmp_path)) as collector:
        records = [
            prediction("bad\nname", "a", at(), inputs={"x": 1}),
            prediction("m", "b", at(), inputs={"x": 1}),
        ]
        status, body = collector.post(request(records))
        assert (status, bool(body)) == (200, True)
    assert ask(tmp_path, "SELECT prediction_id AS id FROM predictions.m") == [{"id": "b"}]


def test_a_second_collector_is_refused(tmp_path: Path) -> None:
    """Two collectors on one directory would spoil it; the second says who holds it."""
    with (
        running(project(tmp_path)),
        pytest.raises(DataDirectoryError, match=r"pid \d+"),
        running(project(tmp_path)),
    ):
        pass


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    """A port in use names the address; the data directory is free again afterwards."""
    with running(project(tmp_path / "a")) as first:
        taken = project(tmp_path / "b", **{"http.listen": first.address})
        with pytest.raises(AddressInUseError, match=first.address), running(taken):
            pass
    with running(project(tmp_path / "b")):
        pass


RULES = """
groups:
  - name: g
    interval: 1d
    rules:
      - alert: TooMany
        expr: |
          SELECT inputs.kind AS kind, count(*) AS value FROM predictions.m
          WHERE time >= $window_start AND time < $window_end GROUP BY 1
        condition: value > 2
        segments: [inputs.half]
        annotations: {summary: "{{ $value }} of {{ $labels.kind }}"}
      - record: daily
        expr: |
          SELECT inputs.kind AS kind, count(*) AS value, count(*) AS sample_count FROM predictions.m
          WHERE time >= $window_start AND time < $window_end GROUP BY 1
"""


class Hook(ThreadingHTTPServer):
    """A webhook that keeps what it is sent."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.keys: list[str] = []
        self.arrived = threading.Condition()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """Takes every post."""

    server: Hook

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.arrived:
            self.server.titles.append(message["title"])
            self.server.keys.append(self.headers["Idempotency-Key"])
            self.server.arrived.notify_all()
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_rules_fire_resolve_and_are_told(tmp_path: Path) -> None:
    """Each day is judged once its data is in; alerts reach a webhook, metrics the lake, once each."""
    hook = Hook()
    serving = threading.Thread(target=hook.serve_forever, args=(0.01,))
    serving.start()
    config = tmp_path / "lapwing.yaml"
    config.write_text("clock: data\nrules: [rules.yaml]\nweb: {dashboard: 'https://lapwing.example.org/'}\n")
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "notify.yaml").write_text(
        "route: {receiver: r, group_by: ['...'], group_wait: 0s, group_interval: 0s}\n"
        "receivers:\n  - name: r\n    apprise_configs:\n"
        f"      - {{name: hook, url: 'json://127.0.0.1:{hook.server_port}/'}}\n"
    )
    data = tmp_path / "data"
    per_day = [1, 3, 4, 1, 2]
    runs = [[0], [1, 2], [3, 4]]
    sent = 0
    try:
        for days in runs:
            # A restart between days changes nothing.
            with running(project(data, config)) as collector:
                for day in days:
                    records = []
                    for number in range(per_day[day]):
                        sent += 1
                        records.append(
                            prediction(
                                "m",
                                f"p{sent}",
                                at(days=day, hours=1 + number),
                                inputs={"kind": "a", "half": number % 2},
                                sequence=sent,
                            )
                        )
                    collector.post(request(records, "p"))
                    last = prediction(
                        "m", f"e{day}", at(days=day + 1, minutes=1), inputs={"kind": "b"}, sequence=1000 + day
                    )
                    collector.post(request([last], "p"))
                    wait_for_slot(data, START + DAY * (day + 1))
                    wanted = sum(slot <= day for slot in (1, 3))
                    with hook.arrived:
                        assert hook.arrived.wait_for(lambda: len(hook.titles) >= wanted, 30)  # noqa: B023  # waited for here
    finally:
        hook.shutdown()
        serving.join()
        hook.server_close()
    assert [title.split()[0] for title in hook.titles] == ["[FIRING]", "[RESOLVED]"]
    assert len(set(hook.keys)) == 2
    store = Store.open(DataDirectory(data).state)
    firing = json.loads(store.outbox_rows()[-1].message.payload)["alerts"][0]
    store.close()
    # What helps is looked up in bounded time: on a busy machine a part may be missing, test_briefing has all.
    assert list(firing["recent"][-2:]) in ([], [1, 3])
    segments = {(part["segment"], part["value"]) for part in firing["segments"]}
    assert segments <= {("inputs.half=0", 2), ("inputs.half=1", 1)}
    url = firing["generatorURL"]
    assert not url or url.startswith("https://lapwing.example.org/model/rows?name=m&from=2026-01-02")
    rows = ask(
        data,
        "SELECT value FROM metric_values "
        "WHERE metric = 'daily' AND series['kind'] = 'a' ORDER BY window_start",
    )
    assert [row["value"] for row in rows] == per_day[: len(rows)]
    assert len(rows) >= len(per_day) - 1


def wait_for_slot(data: Path, slot: datetime) -> None:
    """Wait until every rule was evaluated at `slot`."""
    store = Store.open(DataDirectory(data).state)
    pause = threading.Event()
    try:
        for _ in range(600):
            states = store.load_rules().values()
            if len(states) == 2 and all(state.slot is not None and state.slot >= slot for state in states):
                return
            pause.wait(0.05)
        raise AssertionError(f"{slot} was not reached: {states}")
    finally:
        store.close()


def test_signals_are_left_alone_in_this_process(tmp_path: Path) -> None:
    """Running a collector inside another program, even in its main thread, does not take its signals."""

    def handlers() -> list[Any]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    async def run() -> tuple[list[Any], list[Any]]:
        before, meanwhile, stop = handlers(), [], asyncio.Event()

        def on_ready(*_: str) -> None:
            meanwhile.extend(handlers())
            stop.set()

        await run_collector(project(tmp_path), clock=SystemClock(), stop=stop, on_ready=on_ready)
        return before, meanwhile

    before, meanwhile = asyncio.run(run())
    assert before == meanwhile


def test_what_is_known_of_a_model_can_be_asked_for(tmp_path: Path) -> None:
    """A file, the process that predicts and its rows describe a model, over HTTP a moment later."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "churn.yaml").write_text("model: churn\ntypes: {inputs.zip: VARCHAR}\n")
    settings = tmp_path / "lapwing.yaml"
    settings.write_text("clock: wall\n")
    told = model_said("churn", {"threshold": 0.7, "roles": {"score": "output.p"}}, at(days=1))
    row = prediction("churn", "p1", at(days=1), inputs={"zip": 1011}, output={"p": 0.25})
    with running(project(tmp_path / "data", settings)) as collector:
        assert collector.post(request([told, row], "process-1")) == (200, b"")
        url = f"http://{collector.web}/api/v1/models/churn"

        def churn() -> dict[str, Any]:
            with suppress(HTTPError), urlopen(url) as answer:
                return dict(json.load(answer))
            return {}

        wait_until(lambda: churn().get("described_at") is not None)
        known = churn()
    assert (known["threshold"], known["score"], known["types"]) == (
        0.7,
        "output.p",
        {"inputs.zip": "VARCHAR"},
    )
    assert {known["sources"][name] for name in ("threshold", "score")} == {"sdk"}
    assert (known["sources"]["task"], known["sources"]["types.inputs.zip"]) == ("inferred", "file")
    assert [(field["field"], field["type"]) for field in known["fields"]] == [
        ("inputs.zip", "VARCHAR"),
        ("output.p", "DOUBLE"),
    ]
