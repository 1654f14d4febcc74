"""`lapwing models`, over a real lake, as people and scripts meet it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.batches import labels, predictions
from lapwing_collector.cli.main import app
from lapwing_collector.errors import ConfigError
from lapwing_collector.lake import Lake, Progress


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "data"
    lake = Lake.open(folder / "lake")
    rows = [
        {"inputs.age": 41, "inputs.Age": 1, "inputs.user.plan": "a", "output.scores": [0.5], "version": "1"},
        {"inputs.age": "unknown", "inputs.Age": 2, "version": "2"},
    ]
    lake.flush([predictions("churn", rows), labels("churn", [{"label": True}])], [], Progress(1, 0))
    lake.flush([predictions("Churn", [{"inputs.x": 1.5}])], [], Progress(2, 0))
    lake.flush([labels("only labels", [{"label": 3}])], [], Progress(3, 0))
    lake.close()
    return folder


def said(data: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["models", *arguments, "--data", str(data)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_models_are_listed(data: Path) -> None:
    """Each model with its table, its versions and when it was first seen."""
    rows = json.loads(said(data, "--json"))
    assert [(row["model"], row["table_name"], row["versions"]) for row in rows] == [
        ("Churn", "Churn~2", 0),
        ("churn", "churn", 2),
        ("only labels", "only labels", 0),
    ]
    assert rows[1]["first_seen"] == "2026-01-01 00:00:00"
    assert "Churn~2" in said(data)


def test_a_model_is_shown_with_what_found_no_column(data: Path) -> None:
    """Fields with their types, and for each the rows whose value is in `extra`."""
    rows = json.loads(said(data, "show", "churn", "--json"))
    assert [(row["field"], row["type"], row["rows_in_extra"]) for row in rows] == [
        ("inputs.age", "BIGINT", 1),
        ("inputs.user.plan", "VARCHAR", 0),
        ("output.scores", "FLOAT[]", 0),
        ("label", "BOOLEAN", 0),
        ("inputs.Age", None, 2),
    ]
    assert "inputs.Age" in said(data, "show", "churn")


def test_a_model_of_labels_only_is_shown(data: Path) -> None:
    """A model that has no predictions yet shows its label."""
    [row] = json.loads(said(data, "show", "only labels", "--json"))
    assert (row["field"], row["type"]) == ("label", "BIGINT")


def test_an_unknown_model_is_told(data: Path) -> None:
    """A name that no record brought gives an error that says where names are."""
    with pytest.raises(ConfigError, match="there is no model 'other'; `lapwing models` lists"):
        said(data, "show", "other")
