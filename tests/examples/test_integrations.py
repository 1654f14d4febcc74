"""Examples of integrations: each sends to a real collector, and what it means to record is in the lake."""

import importlib
import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import uvicorn

import lapwing
from helpers.collector import Collector, project, running
from helpers.waiting import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDER = EXAMPLES / "integrations"
LONGEST = 80
FILES = sorted(file for file in EXAMPLES.rglob("*.py") if "flights" not in file.parts)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A collector with the examples' own settings and models, shared by all of them."""
    with running(project(tmp_path_factory.mktemp("integrations") / "data", FOLDER / "lapwing.yaml")) as found:
        yield found


@pytest.fixture
def example(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Any]:
    """The module that a test names, sending to the collector; nothing that runs pipelines is there."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{collector.address}")
    monkeypatch.setenv("LAPWING_URL", f"http://{collector.web}")
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("airflow", "airflow.sdk", "prefect"):
        monkeypatch.setitem(sys.modules, name, None)
    before = set(sys.modules)
    try:
        yield importlib.import_module(request.param)
    finally:
        lapwing.shutdown()
        for name in set(sys.modules) - before:
            if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == FOLDER:
                del sys.modules[name]


def of(name: str) -> Any:
    """Run a test with an example."""
    return pytest.mark.parametrize("example", [name], indirect=True)


def ask(sql: str) -> list[dict[str, Any]]:
    """What the collector answers, and nothing while what is asked for has not come."""
    try:
        return list(lapwing.connect(os.environ["LAPWING_URL"]).sql(sql))
    except lapwing.QueryError as error:
        if error.kind != "unknown-name":
            raise
        return []


def waited(sql: str, rows: int) -> list[dict[str, Any]]:
    """The rows of a query once there are as many."""
    wait_until(lambda: len(ask(sql)) >= rows)
    return ask(sql)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_example_is_short(file: Path) -> None:
    """Whoever copies an example can read it first."""
    assert len(file.read_text().splitlines()) < LONGEST


@of("fastapi_service")
def test_a_service_tells_its_predictions_and_their_outcomes(example: Any) -> None:
    """A request becomes a row with its tag, and the outcome that is told later finds it."""
    server = uvicorn.Server(uvicorn.Config(example.app, port=0, log_config=None))
    thread = Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        (port,) = [socket.getsockname()[1] for socket in server.servers[0].sockets]

        def post(path: str, content: dict[str, Any]) -> bytes:
            headers = {"Content-Type": "application/json", "X-Country": "NL"}
            asked = urllib.request.Request(
                f"http://127.0.0.1:{port}{path}", json.dumps(content).encode(), headers
            )
            with urllib.request.urlopen(asked, timeout=30) as answer:
                body: bytes = answer.read()
                return body

        told = json.loads(post("/loans", {"id": "a1", "income": 5000, "amount": 1000, "purpose": "bike"}))
        assert told["value"] is True
        post("/outcomes", {"prediction_id": told["prediction_id"], "paid_back": True})
    finally:
        server.should_exit = True
        thread.join(30)
    (row,) = waited(
        "SELECT prediction_id, request_id, service, tags['country'] AS country, output.score AS score, label "
        "FROM labeled.loans WHERE label IS NOT NULL",
        1,
    )
    assert (row["prediction_id"], row["request_id"]) == (told["prediction_id"], "a1")
    assert (row["service"], row["country"], row["label"]) == ("loans", "NL", True)
    assert row["score"] == pytest.approx(1 / 1.2)


@of("batch_job")
def test_a_batch_job_hands_over_all_it_scored(example: Any) -> None:
    """Each row of the table is a prediction with its truth, and the accuracy is that of the job itself."""
    scored = example.main()
    (row,) = waited(
        "SELECT count(*) AS n, avg((output.value = label)::INT) AS accuracy FROM labeled.wine "
        "HAVING count(label) = 89",
        1,
    )
    assert row["n"] == len(scored) == 89
    assert row["accuracy"] == pytest.approx((scored["predicted"] == scored["target"]).mean())


@of("streaming_text")
def test_a_stream_is_one_row_with_its_text_and_embedding(example: Any) -> None:
    """The row has the whole answer, the embedding of the question, and whether the model knew."""
    example.main()
    rows = waited(
        "SELECT inputs.question AS question, len(inputs.embedding) AS size, output.text AS text, fallback, "
        "descriptors.inputs.question.words AS words FROM predictions.answers ORDER BY time",
        3,
    )
    assert [row["question"] for row in rows] == ["Why does it rain?", "What bird is it?", "Who wins?"]
    assert [row["words"] for row in rows] == [4, 4, 2]
    assert {row["size"] for row in rows} == {16}
    assert rows[0]["text"].strip() == example.FACTS["rain"]
    assert [bool(row["fallback"]) for row in rows] == [False, False, True]


class Llm(BaseHTTPRequestHandler):
    """A language model that answers as OpenAI's interface does, or fails."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        (message,) = asked["messages"]
        failing = "fail" in message["content"]
        told = {
            "choices": [{"message": {"content": "It comes today."}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 4},
        }
        body = b"{}" if failing else json.dumps(told).encode()
        self.send_response(500 if failing else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@of("llm_call")
def test_a_prompt_is_described_and_not_kept(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer, tokens and measures of the prompt are in the row, the prompt is not; failures are rows."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Llm)
    thread = Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("LLM_URL", f"http://127.0.0.1:{server.server_port}/v1")
    lapwing.init(service="support")
    try:
        assert example.answer("Where is my parcel?") == "It comes today."
        with pytest.raises(urllib.error.HTTPError):
            example.answer("Please fail.")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    lapwing.flush()
    good, bad = waited(
        "SELECT version, output.text AS text, output.completion_tokens AS tokens, error_type, "
        "descriptors.inputs.prompt.words AS words, tags['template'] AS template "
        "FROM predictions.support ORDER BY time",
        2,
    )
    assert (good["text"], good["tokens"], good["template"]) == ("It comes today.", 4, "parcel")
    assert good["words"] == 15
    assert good["error_type"] is None
    assert bad["error_type"].endswith("HTTPError")
    columns = [row["column_name"] for row in ask("DESCRIBE SELECT inputs.* FROM predictions.support")]
    assert "prompt" not in columns


@of("recommender")
def test_a_ranking_is_judged_by_what_people_took(example: Any) -> None:
    """Lists and labels in degrees give the ranking metrics: the first item was liked, the third by half."""
    example.main()
    sql = "FROM ndcg_at_k('movies', TIMESTAMP '2026-01-01', TIMESTAMP '2126-01-01', k := 3)"
    wait_until(lambda: (ask(sql) or [{"sample_count": 0}])[0]["sample_count"] == 40)
    (row,) = ask(sql)
    best, got = 1 + 0.5 / 1.584962500721156, 1 + 0.5 / 2
    assert row["value"] == pytest.approx(got / best)


@of("late_labels")
def test_files_of_truths_are_taken_over_once(example: Any, collector: Collector, tmp_path: Path) -> None:
    """A whole file is imported and put away, rows that are none are kept apart, half a file is left alone."""
    lapwing.init(service="drop")
    for order in ("o1", "o2"):
        lapwing.log_prediction(model="dropped", prediction_id=order, inputs={"x": 1}, output={"value": 0.5})
    assert lapwing.flush()
    (tmp_path / "monday.csv").write_text("prediction_id,label,time\no1,1,2026-01-01\n,0,2026-01-01\n")
    (tmp_path / "tuesday.csv.part").write_text("prediction_id,la")
    told = example.take_over(tmp_path, "dropped", f"http://{collector.address}")
    assert [line.partition(":")[0] for line in told] == ["monday.csv"]
    assert [file.name for file in (tmp_path / "done").iterdir()] == ["monday.csv"]
    assert [file.name for file in (tmp_path / "failed").iterdir()] == ["monday.rejects.csv"]
    assert example.take_over(tmp_path, "dropped", f"http://{collector.address}") == []
    (row,) = waited("SELECT prediction_id, label FROM labeled.dropped WHERE label IS NOT NULL", 1)
    assert (row["prediction_id"], row["label"]) == ("o1", 1)


@of("shadow")
def test_a_challenger_is_compared_by_request(example: Any, collector: Collector) -> None:
    """Every request has both answers; the champion's alone are production; the notebook looks at them."""
    example.main()
    rows = waited("SELECT request_id, stage, version, output.value AS value FROM predictions_all.fraud", 400)
    sides = {
        stage: {row["request_id"]: row["value"] for row in rows if row["stage"] == stage}
        for stage in ("production", "shadow")
    }
    assert len(sides["production"]) == len(sides["shadow"]) == 200
    differing = sum(value != sides["shadow"][request] for request, value in sides["production"].items())
    names: dict[str, Any] = {}
    notebook = json.loads((FOLDER / "look.ipynb").read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert len(names["rows"]) == 200
    assert names["apart"]["value"][0] == pytest.approx(differing / 200)
    assert names["latency"].chart("country", "value").to_dict()


@pytest.mark.parametrize("example", ["airflow_scoring", "prefect_scoring"], indirect=True)
def test_steps_of_a_pipeline_run_without_what_runs_pipelines(example: Any, tmp_path: Path) -> None:
    """Scoring a day twice records it once, its truths find it, and the check passes or stops the pipeline."""
    day = {"airflow_scoring": "2026-02-03", "prefect_scoring": "2026-02-04"}[example.__name__]
    (tmp_path / f"customers-{day}.csv").write_text("customer,months\n1,1\n2,40\n3,2\n4,60\n")
    (tmp_path / f"left-{day}.csv").write_text("customer,left\n1,true\n2,false\n3,true\n4,true\n")
    assert example.score(str(tmp_path), day) == 4
    assert example.bring_truths(str(tmp_path), day) == 4
    sql = f"SELECT prediction_id FROM labeled.pipeline_churn WHERE label IS NOT NULL AND time::DATE = '{day}'"
    waited(sql, 4)
    assert example.check(day) == pytest.approx(0.75)
    with pytest.raises(RuntimeError, match="no truths of 2020-01-01 yet"):
        example.check("2020-01-01")
