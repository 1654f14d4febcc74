"""Reports on tables, and evaluations from Python."""

import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

import lapwing

BEGIN = datetime(2026, 1, 1)


def made(rows: int, seed: int, *, noise: float = 0.5, age: float = 40) -> pd.DataFrame:
    """Predictions every minute whose score tells of the truth, but for some noise."""
    rng = np.random.default_rng(seed)
    ages = rng.normal(age, 10, rows)
    truth = rng.random(rows) < 1 / (1 + np.exp(-(ages - age) / 5))
    score = 1 / (1 + np.exp(-(ages - age) / 5 - noise * rng.normal(size=rows)))
    return pd.DataFrame(
        {
            "time": [BEGIN + timedelta(minutes=each) for each in range(rows)],
            "prediction_id": [f"p{each}" for each in range(rows)],
            "age": ages,
            "plan": rng.choice(["free", "<b>paid</b>"], rows),
            "score": score,
            "prediction": score >= 0.5,
            "label": truth,
        }
    )


def section(report: dict, title: str) -> dict:
    (found,) = [each for each in report["sections"] if each["title"] == title]
    return found


def column(table: dict, name: str) -> dict:
    """A column of a section's table, by the first one."""
    at = table["columns"].index(name)
    return {row[0]: row[at] for row in table["rows"]}


def test_two_tables_are_compared_without_a_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quality of both as scikit-learn has it, drift of what moved, and the advice that follows."""
    monkeypatch.chdir(tmp_path)
    now, then = made(2000, 1, noise=6, age=48), made(2000, 2)
    report = lapwing.report(now, then, model="churn")
    told = report.as_dict()
    quality = section(told, "Quality")["table"]
    assert column(quality, "current")["ROC-AUC"] == pytest.approx(roc_auc_score(now["label"], now["score"]))
    accuracy = column(quality, "reference")["accuracy"]
    assert accuracy == pytest.approx(accuracy_score(then["label"], then["prediction"]))
    drift = column(section(told, "Drift")["table"], "Drifted")
    assert (drift["inputs.age"], drift["inputs.plan"]) == (True, False)
    ages = next(each for each in section(told, "Drift")["charts"] if each["title"] == "inputs.age")
    assert [sum(line["y"]) for line in ages["lines"]] == pytest.approx([1, 1])
    assert report.advice == "retrain"
    assert [step["answer"] for step in told["advice"]["steps"]] == ["yes", "no", "yes", "yes"]
    page = report.html()
    assert "<b>paid" not in page
    assert "&lt;b&gt;paid" in page
    assert re.match('<iframe sandbox srcdoc="&lt;!doctype html', report._repr_html_())
    assert "ROC-AUC" in str(report)


def test_an_evaluation_from_python_tells_what_the_command_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables and files, columns by name, a verdict that raises, and every rendering."""
    monkeypatch.chdir(tmp_path)
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "groups: [{name: g, rules: [{alert: Low, condition: value < 0.99, "
        "expr: 'FROM accuracy(''churn'', $window_start, $window_end)'}]}]"
    )
    rows = made(500, 5).rename(columns={"label": "left"})
    run = lapwing.evaluate(rules, rows, model="churn", columns={"label": "left"}, version="8")
    assert not run.passed
    assert run.checks[0].value == pytest.approx((rows["left"] == rows["prediction"]).mean())
    with pytest.raises(lapwing.NotPassedError, match=r"churn 8: failed: 0 of 1 rules passed, 1 stopped it"):
        run.raise_for_verdict()
    assert run.as_dict()["id"] == run.id
    assert b"testsuite" in run.junit()
    assert "g/Low" in run.markdown()
    assert run._repr_html_().startswith("<iframe sandbox")
    with pytest.raises(lapwing.EvaluationError, match="no rule of these files is about fraud"):
        lapwing.evaluate(rules, rows, model="fraud")
    with pytest.raises(lapwing.EvaluationError, match="columns: expected time, key, label"):
        lapwing.evaluate(rules, rows, model="churn", columns={"truth": "left"})
