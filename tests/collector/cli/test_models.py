"""`lapwing models`, over a real lake, as people and scripts meet it."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from helpers.batches import START, labels, predictions
from lapwing_collector.cli.main import app
from lapwing_collector.errors import ConfigError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.model.description import Feature, FeatureType, ModelDescription, Source, merged

NUMBER = FeatureType.NUMBER


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


STEERING = "\x1b]0;x\x07 \x1b[2J \x9b2J \u202e"
"""Sets a terminal's title, clears it twice, and turns the reading direction."""


IN_TURN = """
import json, sys
from lapwing_collector.cli.main import main
for sys.argv in json.loads(sys.argv[1]):
    try:
        main()
    except SystemExit:
        pass
"""


def on_terminal(*commands: list[str]) -> str:
    """What commands write to a terminal, one after the other."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", IN_TURN, json.dumps([["lapwing", *command] for command in commands])],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "200"},
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # how Linux ends it once nobody holds the other end
        while piece := os.read(ours, 65536):
            shown += piece
    process.wait()
    os.close(ours)
    return shown.decode()


def test_nothing_logged_steers_a_terminal(data: Path) -> None:
    """A table's cells and names, CSV, JSON and errors show escapes where a terminal would obey."""
    name = STEERING.replace("\x1b]", "")
    told = f"SELECT '{STEERING}' AS \"{name}\""
    asked = [[told, "--format", fmt] for fmt in ("table", "csv", "json")] + [[f"SELECT '{STEERING}'::INT"]]
    shown = on_terminal(*(["sql", *each, "--data", str(data)] for each in asked))
    for harm in ("\x1b]0", "\x1b[2J", "\x07", "\x9b", "\u202e"):
        assert harm not in shown
    assert shown.count(r"\x1b]0;x") == 4  # an error says what it is about, and shows the line
    assert shown.count(r"\u001b]0;x") == 1


def test_names_of_models_steer_no_terminal(tmp_path: Path) -> None:
    """A model is listed with its name escaped, as a table and as JSON."""
    lake = Lake.open(tmp_path / "lake")
    lake.flush([predictions(STEERING, [{"inputs.x": 1.5}])], [], Progress(1, 0))
    lake.close()
    shown = on_terminal(*([*words, "--data", str(tmp_path)] for words in (["models"], ["models", "--json"])))
    assert not set("\x07\x9b\u202e").intersection(shown)
    assert "\x1b]0" not in shown
    assert "\x1b[2J" not in shown
    assert json.loads(said(tmp_path, "--json"))[0]["model"] == STEERING


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
    assert (rows[1]["first_seen"], rows[1]["task"]) == ("2026-01-01T00:00:00Z", None)
    assert "Churn~2" in said(data)


def test_a_model_is_shown_with_what_found_no_column(data: Path) -> None:
    """Fields with their types, and for each the rows whose value is in `extra`."""
    rows = json.loads(said(data, "show", "churn", "--json"))["fields"]
    assert [(row["field"], row["type"], row["rows_in_extra"]) for row in rows] == [
        ("inputs.age", "BIGINT", 1),
        ("inputs.user.plan", "VARCHAR", 0),
        ("output.scores", "FLOAT[]", 0),
        ("label", "BOOLEAN", 0),
        ("inputs.Age", None, 2),
    ]
    assert "inputs.Age" in said(data, "show", "churn")


def test_a_model_is_shown_with_where_each_value_comes_from(tmp_path: Path) -> None:
    """What a file, a process and the duty found stands beside its source; what nobody knows, too."""
    lake = Lake.open(tmp_path / "lake")
    lake.flush([predictions("m", [{"inputs.age": 41, "output.p": 0.5, "version": "1"}])], [], Progress(1, 0))
    layers = {
        Source.FILE: ModelDescription(
            threshold=0.7, label_delay=timedelta(days=2), types={"inputs.zip": "VARCHAR"}
        ),
        Source.SDK: ModelDescription(score="output.p", features={"inputs.age": Feature(importance=0.25)}),
        Source.INFERRED: ModelDescription(classes=("a", "b"), features={"inputs.age": Feature(NUMBER)}),
    }
    row = {"model": "m", "table_name": "m", "described_at": START, "description": merged(layers).to_json()}
    lake.add_rows(
        {"model_descriptions": pa.Table.from_pylist([row | {"said": "", "facts": "", "logs_seen": 0}])}
    )
    lake.close()
    told = json.loads(said(tmp_path, "show", "m", "--json"))
    assert (told["model"], told["versions"], told["label_delay"]) == ("m", ["1"], 172_800.0)
    assert (told["described_at"], told["sources"]["score"]) == ("2026-01-01T00:00:00Z", "sdk")
    assert told["fields"][0] == {
        "field": "inputs.age",
        "type": "BIGINT",
        "feature": "number",
        "feature_source": "inferred",
        "importance": 0.25,
        "importance_source": "sdk",
        "rows_in_extra": 0,
    }
    shown = [line.split() for line in said(tmp_path, "show", "m").splitlines()]
    for line in (
        ["task", "-", "-"],
        ["score", "output.p", "sdk"],
        ["classes", "a,", "b", "inferred"],
        ["label_delay", "2", "days,", "0:00:00", "file"],
        ["types.inputs.zip", "VARCHAR", "file"],
        ["inputs.age", "BIGINT", "number", "(inferred)", "0.25", "(sdk)", "0"],
    ):
        assert line in shown


def test_a_model_that_nobody_described_is_inferred(data: Path) -> None:
    """Before the collector came to it, types alone tell."""
    told = json.loads(said(data, "show", "churn", "--json"))
    assert (told["described_at"], told["label"], told["sources"]["label"]) == (None, "label", "inferred")


def test_a_field_gets_another_type(tmp_path: Path) -> None:
    """Nobody owns the lake, so the command does it; a wrong model, field or type is told."""
    lake = Lake.open(tmp_path / "lake")
    lake.flush([predictions("Churn", [{"inputs.age": "41"}, {"inputs.age": "x"}])], [], Progress(1, 0))
    lake.close()
    assert said(tmp_path, "retype", "Churn", "inputs.age", "bigint") == (
        "inputs.age of Churn is bigint now, in 2 rows: 0 values came from extra, 1 went there\n"
    )
    done = json.loads(said(tmp_path, "retype", "Churn", "inputs.age", "DOUBLE", "--json"))
    assert done == {"rows": 2, "into_column": 0, "into_extra": 0}
    [field] = json.loads(said(tmp_path, "show", "Churn", "--json"))["fields"]
    assert (field["type"], field["rows_in_extra"]) == ("DOUBLE", 1)
    for arguments, why in (
        (["churn", "inputs.age", "DOUBLE"], "there is no model 'churn'"),
        (["Churn", "inputs.aeg", "DOUBLE"], "has no column inputs.aeg"),
        (["Churn", "inputs..", "DOUBLE"], "expected a field such as inputs.age"),
        (["Churn", "inputs.age", "NUMERIC"], "expected one of BOOLEAN, BIGINT"),
    ):
        with pytest.raises(ConfigError, match=why):
            said(tmp_path, "retype", *arguments)


def test_a_model_of_labels_only_is_shown(data: Path) -> None:
    """A model that has no predictions yet shows its label."""
    [row] = json.loads(said(data, "show", "only labels", "--json"))["fields"]
    assert (row["field"], row["type"]) == ("label", "BIGINT")


def test_an_unknown_model_is_told(data: Path) -> None:
    """A name that no record brought gives an error that says where names are."""
    with pytest.raises(ConfigError, match="there is no model 'other'; `lapwing models` lists"):
        said(data, "show", "other")
