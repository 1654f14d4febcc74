"""The page for SQL: what it offers, and that what an address brings is only text."""

from collections.abc import Iterator
from html import unescape

import pytest

from helpers.query_lake import make_lake, readers
from helpers.web_server import Web, web_server
from lapwing_collector.web.pages import sql


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    folder = tmp_path_factory.mktemp("web")
    with readers(make_lake(folder / "lake")) as shared, web_server(shared, folder) as running:
        yield running


def test_it_offers_what_there_is(web: Web) -> None:
    """Tables stand there as queries name them, with their columns, beside the metrics with their calls."""
    page = unescape(web.get("/sql").body.decode())
    assert "<code>predictions.churn</code>" in page
    assert 'data-insert="prediction_id"' in page
    assert 'data-insert="accuracy(model, since, until' in page
    assert "SELECT * FROM predictions.churn ORDER BY 1 DESC LIMIT 100</textarea>" in page
    assert web.sql("SELECT * FROM predictions.churn ORDER BY 1 DESC LIMIT 100").status == 200


def test_of_many_models_the_tables_of_some_are_listed(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has the tables of so many models, how many more there are, and those that somebody looks for."""
    assert "predictions.churn" in web.get("/sql?find=HUR").body.decode()
    page = web.get("/sql?find=nobody").body.decode()
    assert "<code>predictions.churn</code>" not in page
    assert "<code>models</code>" in page
    monkeypatch.setattr(sql, "_MOST", 0)
    page = web.get("/sql").body.decode()
    assert "<code>predictions.churn</code>" not in page
    assert "those of 1 more models" in page


def test_a_query_of_an_address_is_text(web: Web) -> None:
    """A query that an address brings is in the editor as it is, and is no markup."""
    page = web.get("/sql?q=SELECT+%22%3C/textarea%3E%3Cscript%3Ealert(1)%3C/script%3E%22").body.decode()
    assert "<script>alert" not in page
    assert 'SELECT "</textarea><script>alert(1)</script>"</textarea>' in unescape(page)
    assert "data-run" in page
    assert "data-run" not in web.get("/sql").body.decode()
