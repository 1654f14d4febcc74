"""Queries from Python: the same rows and the same errors over HTTP and over a folder."""

import datetime as dt
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import lapwing
from helpers.ports import free_port
from helpers.query_lake import Readers, make_lake, readers
from helpers.sdk_receiver import Certificates
from helpers.web_server import Web, web_server
from lapwing_collector.auth import TlsFiles


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    with readers(make_lake(tmp_path_factory.mktemp("data") / "lake")) as found:
        yield found


@pytest.fixture(scope="module")
def web(shared: Readers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    def authorize(header: str | None, scope: str) -> int:
        return 200 if (header, scope) == ("Bearer sesame", "query") else 401

    with web_server(
        shared, tmp_path_factory.mktemp("web"), authorize=authorize, **{"query.max_rows": 1000}
    ) as running:
        yield running


@pytest.fixture(scope="module")
def connections(web: Web, shared: Readers) -> Iterator[dict[str, lapwing.Connection]]:
    with (
        lapwing.connect(f"http://{web.address}/", token="sesame") as http,
        lapwing.connect(shared.folder.parent) as folder,
    ):
        yield {"http": http, "folder": folder}


@pytest.fixture(params=["http", "folder"])
def lake(connections: dict[str, lapwing.Connection], request: pytest.FixtureRequest) -> lapwing.Connection:
    return connections[request.param]


def test_a_connection_tells_where_it_leads(web: Web, shared: Readers) -> None:
    """In a notebook a lake is told by its address or folder, without what somebody logs in with."""
    with lapwing.connect(f"http://ann:secret@{web.address}") as http:
        assert repr(http) == f"<lake at http://{web.address}>"
    with lapwing.connect(shared.folder.parent) as folder:
        assert repr(folder) == f"<lake at {shared.folder.parent}>"


def test_rows_as_everything(lake: lapwing.Connection) -> None:
    """The rows of a query are an Arrow table, a DataFrame of pandas or Polars, or dicts."""
    rows = lake.sql(
        "SELECT prediction_id AS id, inputs, tags, time, sum(inputs.age) OVER () AS total "
        "FROM predictions.churn ORDER BY inputs.age LIMIT 2"
    )
    assert rows.arrow().schema.field("total").type == pa.decimal128(38, 0)
    frame = rows.pandas()
    assert isinstance(frame, pd.DataFrame)
    assert frame["total"].tolist() == [45, 45]
    assert frame["total"].dtype == np.int64
    assert frame["time"].dtype.kind == "M"
    polars = rows.polars()
    assert isinstance(polars, pl.DataFrame)
    assert polars["total"].to_list() == [45, 45]
    assert next(iter(rows)) == {
        "id": "0",
        "inputs": {"age": 0},
        "tags": {"region": "=1+1"},
        "time": dt.datetime(2026, 1, 1),
        "total": 45,
    }
    assert len(rows) == 2
    assert repr(rows) == "<2 rows of id, inputs, tags, time, total>"


def test_what_does_not_fit_stays_exact(lake: lapwing.Connection) -> None:
    """A sum beyond 64 bits stays a decimal."""
    rows = lake.sql("SELECT sum(9223372036854775807) AS s FROM range(3)")
    assert list(rows) == [{"s": Decimal(9223372036854775807) * 3}]
    assert lake.sql("SELECT 1 AS a WHERE false").pandas().empty


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ("a", "VARCHAR", "a"),
        (3, "INTEGER", "3"),
        (np.int64(3), "INTEGER", "3"),
        (0.5, "DOUBLE", "0.5"),
        (True, "BOOLEAN", "true"),
        (dt.datetime(2026, 1, 1, 12), "TIMESTAMP", "2026-01-01 12:00:00"),
        (
            dt.datetime(2026, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2))),
            "TIMESTAMP",
            "2026-01-01 10:00:00",
        ),
        (pd.Timestamp("2026-01-01T12:00"), "TIMESTAMP", "2026-01-01 12:00:00"),
        (pd.NaT, '"NULL"', None),
        (dt.date(2026, 1, 1), "TIMESTAMP", "2026-01-01 00:00:00"),
        ([1, 2], "INTEGER[]", "[1, 2]"),
    ],
)
def test_parameters_keep_their_type(
    lake: lapwing.Connection, value: object, kind: str, text: str | None
) -> None:
    """A value given to a query is the same value, of the same type, in SQL."""
    (row,) = lake.sql("SELECT typeof($x) AS kind, $x::VARCHAR AS text", x=value)
    assert (row["kind"].replace("BIGINT", "INTEGER"), row["text"]) == (kind, text)


@pytest.mark.parametrize(
    ("sql", "kind", "words"),
    [
        ("SELECT * FROM predictions.chur", "unknown-name", "Did you mean"),
        ("DELETE FROM models", "query-refused", "queries can only read"),
        ("SELECT repeat('x', 3000000000)", "query-over-limit", "memory"),
        ("SELECT 'x'::INT", "query-failed", "Could not convert"),
    ],
)
def test_errors_are_what_the_lake_says(lake: lapwing.Connection, sql: str, kind: str, words: str) -> None:
    """Each is one kind of exception, with the words, the kind, the place and the names that may be meant."""
    with pytest.raises(lapwing.QueryError, match=words) as told:
        lake.sql(sql)
    assert told.value.kind == kind
    if kind == "unknown-name":
        assert (told.value.position, told.value.candidates) == (14, ("churn",))
    assert list(lake.sql("SELECT 1 AS one")) == [{"one": 1}]


def test_rows_are_never_cut_silently(connections: dict[str, lapwing.Connection]) -> None:
    """More rows than the collector gives are an error that says what to do."""
    with pytest.raises(lapwing.QueryError, match="more than 1,000 rows: add a LIMIT"):
        connections["http"].sql("FROM range(1001)")
    assert len(connections["http"].sql("FROM range(1000)")) == 1000


def test_a_wrong_token_is_told(web: Web) -> None:
    """Without a token, or with another, the collector's own words come back."""
    for token in (None, "other"):
        with pytest.raises(lapwing.QueryError, match="send a token") as told:
            lapwing.connect(f"http://{web.address}", token=token).sql("SELECT 1")
        assert told.value.kind == "not-authenticated"


class Strange(BaseHTTPRequestHandler):
    """A web server that is no collector."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_who_is_no_collector_is_told() -> None:
    """Another server, and none at all, are errors that name the address."""
    with HTTPServer(("127.0.0.1", 0), Strange) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(lapwing.QueryError, match=r"is this a collector\? .* port 4319 by default"):
            lapwing.connect(f"http://127.0.0.1:{server.server_port}").sql("SELECT 1")
        thread.join()
    port = free_port()
    with pytest.raises(
        lapwing.QueryError, match=f"127.0.0.1:{port}/api/v1/sql gives no answer: nothing listens"
    ):
        lapwing.connect(f"http://127.0.0.1:{port}").sql("SELECT 1")


def test_a_name_that_nobody_has_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the words of the libraries between."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(lapwing.QueryError, match=r"gives no answer: its name cannot be resolved$"):
        lapwing.connect("http://nowhere.invalid:4319").sql("SELECT 1")


def test_certificates_are_shown_and_asked_for(shared: Readers, tmp_path: Path) -> None:
    """With the authority and a certificate of its own, a client is served over https; without, it is not."""
    ours = Certificates(tmp_path)
    tls = TlsFiles(Path(ours.server), Path(ours.server_key), Path(ours.authority))
    with web_server(shared, tmp_path, tls=tls) as web:
        url = f"https://{web.address}"
        for files in (
            {"certificate": ours.client, "key": ours.client_key},
            {"certificate": Path(ours.client_with_key)},
        ):
            with lapwing.connect(url, ca=ours.authority, **files) as lake:
                assert list(lake.sql("SELECT 1 AS one")) == [{"one": 1}]
        lacks = (({}, "its certificate is not trusted: "), ({"ca": ours.authority}, ""))
        for lacking, said in lacks:
            with lapwing.connect(url, **lacking) as lake, pytest.raises(lapwing.QueryError) as told:
                lake.sql("SELECT 1")
            assert told.value.kind == "unreachable"
            assert str(told.value).partition("gives no answer: ")[2].startswith(said)
    with pytest.raises(OSError, match=r"cannot use .*gone\.pem"):
        lapwing.connect(url, ca=tmp_path / "gone.pem")
    with pytest.raises(ValueError, match="https"):
        lapwing.connect(f"http://{web.address}", ca=ours.authority)


@pytest.mark.parametrize("address", ["localhost:4319", "127.0.0.1:4319/", "[::1]:4319"])
def test_an_address_without_a_scheme_is_told(address: str) -> None:
    """What looks like a host and a port is no folder: the message says how to write it."""
    with pytest.raises(lapwing.QueryError, match="no folder") as told:
        lapwing.connect(address)
    assert f"http://{address}" in str(told.value)


def test_a_settings_file_around_does_not_matter(
    shared: Readers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder is read although the current one has a lapwing.yaml with a mistake."""
    (tmp_path / "lapwing.yaml").write_text("no: such key\n")
    monkeypatch.chdir(tmp_path)
    with lapwing.connect(shared.folder.parent) as lake:
        assert list(lake.sql("SELECT 1 AS one")) == [{"one": 1}]


def test_a_folder_without_a_lake_is_told(tmp_path: Path) -> None:
    """A folder in which no collector ever ran says what to do."""
    with pytest.raises(lapwing.QueryError, match="lapwing up"):
        lapwing.connect(tmp_path)


def test_a_parameter_that_cannot_be_sent_is_told(connections: dict[str, lapwing.Connection]) -> None:
    """A value that has no place in JSON is a TypeError with the name of the parameter."""
    with pytest.raises(TypeError, match="parameter x"):
        connections["http"].sql("SELECT $x", x=object())


ABSENT = """
import json, sys
for name in json.loads(sys.argv[1]):
    sys.modules[name] = None
import lapwing
try:
    print(lapwing.connect(sys.argv[2]).sql("SELECT 1"))
except ModuleNotFoundError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("absent", "where", "words"),
    [
        ("lapwing_collector", "folder", "pip install 'lapwing[collector]'"),
        ("pyarrow", "folder", "pip install 'lapwing[tables]'"),
        ("pyarrow", "http://127.0.0.1:1", "pip install 'lapwing[tables]'"),
    ],
)
def test_what_is_missing_is_told(absent: str, where: str, words: str) -> None:
    """Where a package is not installed, the message says what to install."""
    done = subprocess.run(
        [sys.executable, "-c", ABSENT, json.dumps([absent]), where],
        capture_output=True,
        text=True,
        check=True,
    )
    assert words in done.stdout


HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e"


def test_rows_are_a_table_in_a_notebook(lake: lapwing.Connection) -> None:
    """Twenty rows of it at most, and nothing in them becomes a part of the page."""
    shown = lake.sql("SELECT i, $text AS said FROM range(30) AS r(i)", text=HOSTILE)._repr_html_()
    assert shown.count("<tr>") == 21
    assert "20 of 30 rows" in shown
    assert "<script" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[31m\\u202e" in shown


def test_rows_are_a_chart(lake: lapwing.Connection) -> None:
    """Times, numbers and texts have their axes, whatever columns are called; others are told."""
    rows = lake.sql(
        "SELECT TIMESTAMP '2026-01-01' + to_hours(i::INT) AS time, i / 2 AS \"a.b[0]:Q\", "
        "'v' || i % 2 AS version FROM range(4) AS r(i)"
    )
    told = rows.chart("time", "a.b[0]:Q", "version").to_dict()
    kinds = {
        name: (told["encoding"][name]["type"], told["encoding"][name]["title"])
        for name in ("x", "y", "color")
    }
    assert kinds == {
        "x": ("temporal", "time"),
        "y": ("quantitative", "a.b[0]:Q"),
        "color": ("nominal", "version"),
    }
    (values,) = told["datasets"].values()
    assert [row[told["encoding"]["y"]["field"]] for row in values] == [0.0, 0.5, 1.0, 1.5]
    with pytest.raises(ValueError, match="no column value; there is time"):
        rows.chart("time", "value")


def test_a_model_at_a_glance(lake: lapwing.Connection) -> None:
    """What is known of it and its versions of late; a model that is not there is named."""
    names = [row["model"] for row in lake.models()]
    model = lake.model(names[0])
    assert sum(row["predictions"] for row in model.versions) > 0
    assert repr(model).startswith(f"<model {names[0]}: ")
    assert "<th>predictions</th>" in model._repr_html_()
    with pytest.raises(lapwing.QueryError, match="no model 'nobody'"):
        lake.model("nobody")
