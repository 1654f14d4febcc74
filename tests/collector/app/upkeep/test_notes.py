"""Notes on the time axis: from the command line and over HTTP, whether a collector runs or not."""

import json
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from helpers.batches import START
from helpers.collector import ask, prediction, project, request, running
from helpers.waiting import wait_until
from lapwing_collector.app.upkeep.notes import rows_of_note
from lapwing_collector.cli.main import app
from lapwing_collector.errors import ConfigError

DAY_NS = 1_767_225_600_000_000_000


def http(address: str, method: str, path: str, body: Any = None) -> tuple[int, str]:
    connection = HTTPConnection(address, timeout=30)
    try:
        connection.request(
            method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def annotated(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["annotate", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_note_on_a_model_nobody_knows_says_so(tmp_path: Path) -> None:
    """A name that is mistyped is told at once; of a release before its first prediction the note is kept."""
    data = str(tmp_path / "data")
    with running(project(tmp_path / "data")) as collector:
        assert collector.post(request([prediction("churn", "p1", DAY_NS, output={"value": 1.0})]))[0] == 200
        wait_until(lambda: http(collector.web, "GET", "/model?name=churn")[0] == 200)
        told = "no prediction of a model 'chrun' has come yet"
        assert told in annotated("release", "--model", "chrun", "--data", data)
        assert told not in annotated("release", "--model", "churn", "--data", data)
        assert told not in annotated("release", "--data", data)
    assert told in annotated("release", "--model", "chrun", "--data", data)
    assert len(ask(tmp_path / "data", "FROM annotations")) == 4


def test_notes_are_kept_and_shown(tmp_path: Path) -> None:
    """What is noted stands on the page of its model, and of every model where it names none."""
    data = str(tmp_path / "data")
    with running(project(tmp_path / "data")) as collector:
        assert collector.post(request([prediction("churn", "p1", DAY_NS, output={"value": 1.0})]))[0] == 200
        wait_until(lambda: http(collector.web, "GET", "/model?name=churn")[0] == 200)
        said = annotated(
            "new <b>rules</b>", "--model", "churn", "--at", "2026-01-01T10:00+01:00", "--data", data
        )
        assert said == "noted at 2026-01-01T09:00:00Z\n"
        note = {"text": "release", "kind": "deployment", "version": "7", "at": "2026-01-01T12:00"}
        assert http(collector.web, "POST", "/api/v1/admin/annotate", note)[0] == 200
        assert http(collector.web, "POST", "/api/v1/admin/annotate", {"text": ""})[0] == 400
        other = {"text": "not here", "model": "price", "at": "2026-01-01T12:00"}
        assert http(collector.web, "POST", "/api/v1/admin/annotate", other)[0] == 200
        _, html = http(collector.web, "GET", "/model?name=churn&from=2026-01-01&to=2026-01-02")
        assert "new &lt;b&gt;rules&lt;/b&gt;" in html
        assert "release (version 7)" in html
        assert "not here" not in html
    annotated("while nobody ran", "--deployment", "--at", "2026-01-03T00:00", "--data", data)
    rows = ask(tmp_path / "data", "SELECT kind, model, text FROM annotations ORDER BY time, text")
    assert [tuple(row.values()) for row in rows] == [
        ("note", "churn", "new <b>rules</b>"),
        ("note", "price", "not here"),
        ("deployment", None, "release"),
        ("deployment", None, "while nobody ran"),
    ]


@pytest.mark.parametrize(
    "asked",
    [
        {"text": " "},
        {"text": "x" * 501},
        {"text": "x", "kind": "party"},
        {"text": "x", "at": "soon"},
        {"text": "x", "at": "2026-01-02T00:00", "until": "2026-01-01T00:00"},
        {"text": 1},
        {"text": "x", "colour": "red"},
    ],
)
def test_what_is_no_note_is_told(asked: dict[str, Any]) -> None:
    """Nothing said, an unknown kind, a time that is none: each is refused in words."""
    with pytest.raises(ConfigError, match="annotate"):
        rows_of_note(asked, START)
