"""The examples of the gate: each runs as it stands, without the tools that run pipelines."""

import importlib
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import lapwing
from lapwing_collector.app.gate.candidates import Wanted
from lapwing_collector.app.gate.gating import evaluate
from lapwing_collector.cli.main import app

EXAMPLE = Path(__file__).parents[2] / "examples" / "gate"
MODULES = ("gate", "predictions", "airflow_dag", "prefect_flow", "mlflow_logging", "test_release")


class Logged(ModuleType):
    """MLflow's functions that log, remembering what they were given."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.metrics: dict[str, float] = {}
        self.tags: dict[str, str] = {}
        self.files: dict[str, Any] = {}

    def log_metric(self, name: str, value: float) -> None:
        self.metrics[name] = value

    def set_tag(self, name: str, value: str) -> None:
        self.tags[name] = value

    def log_dict(self, content: dict[str, Any], file: str) -> None:
        self.files[file] = content

    def log_text(self, content: str, file: str) -> None:
        self.files[file] = content


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The modules of the example; nothing that runs pipelines is there."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    for name in ("airflow", "airflow.sdk", "prefect"):
        monkeypatch.setitem(sys.modules, name, None)
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name, None)


def test_a_good_candidate_passes_everywhere_and_a_worse_one_nowhere(
    example: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tasks of Airflow and Prefect and the test of pytest go on or raise; MLflow gets the numbers."""
    example["predictions"].write_predictions(tmp_path)
    run = example["gate"].evaluate_candidate(str(tmp_path), "2")
    assert run.passed
    assert "<h1>tumours 2" in (tmp_path / "report.html").read_text()
    mlflow = Logged()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    example["mlflow_logging"].log_evaluation(run)
    assert mlflow.metrics["tumours/roc_auc.1"] == pytest.approx(0.9788, abs=1e-4)
    assert mlflow.tags == {"lapwing.verdict": "passed", "lapwing.evaluation": run.id}
    assert set(mlflow.files) == {"lapwing/evaluation.json", "lapwing/report.html"}
    goes_on = [example[name].gate for name in ("airflow_dag", "prefect_flow")]
    assert [each(str(tmp_path), "2") for each in judged(example, monkeypatch, run, goes_on)] == 2 * [run.id]
    example["test_release"].test_the_candidate_may_be_released()
    example["predictions"].write_predictions(tmp_path, worse=True)
    files = {name: tmp_path / f"{name}.parquet" for name in ("candidate", "production")}
    asked = Wanted("tumours", str(files["candidate"]), [EXAMPLE / "rules.yaml"], shown=False)
    worse = lapwing.Evaluation(
        evaluate(EXAMPLE / "lapwing.yaml", replace(asked, against=str(files["production"])))
    )
    tasks = judged(example, monkeypatch, worse, goes_on)
    for each in (*tasks, lambda *_: example["test_release"].test_the_candidate_may_be_released()):
        with pytest.raises(lapwing.NotPassedError, match="RecallLow"):
            each(str(tmp_path), "3")


def judged(
    example: dict[str, ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    run: lapwing.Evaluation,
    tasks: list[Callable[[str, str], str]],
) -> list[Callable[[str, str], str]]:
    """The tasks, of a candidate that was judged already: once is enough for all of them."""
    for name in ("gate", "test_release"):
        monkeypatch.setattr(example[name], "evaluate_candidate", lambda *_, **__: run)
    return tasks


def test_the_command_of_the_workflow_is_one_that_works(
    example: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What GitHub Actions is told to run writes what later steps read, and prints what the page shows."""
    workflow = yaml.safe_load((EXAMPLE / "workflows" / "gate.yaml").read_text())
    (command,) = [
        step["run"]
        for step in workflow["jobs"]["gate"]["steps"]
        if step.get("run", "").startswith("lapwing evaluate")
    ]
    example["predictions"].write_predictions(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text((EXAMPLE / "rules.yaml").read_text())
    words = shlex.split(command.replace("$GITHUB_SHA", "abc123"))[1:]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "tumours abc123: passed: 4 of 4 rules passed" in done.output
    assert {"junit.xml", "comment.md", "report.html"} <= {file.name for file in tmp_path.iterdir()}
    (shown,) = re.findall(
        r"^prints\n\n```\n(.*?)^```", (EXAMPLE / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL
    )
    assert without_numbers(done.output.replace("abc123", "2")) == without_numbers(shown)


def without_numbers(text: str) -> list[str]:
    """The lines of a text, each number as a 0: its last digits are the matter of other libraries."""
    return re.sub(r"-?\d[\d.,]*(?:e-\d+)?", "0", text).strip().splitlines()
