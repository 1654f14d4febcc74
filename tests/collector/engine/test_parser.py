"""Connections that are asked what SQL says."""

import duckdb
import pytest

from lapwing_collector import engine


def test_parsers_know_nothing_of_each_other() -> None:
    """What is set on one holds for it alone, and the others stay when it is closed."""
    with engine.parser() as one, engine.parser() as other:
        one.execute("SET errors_as_json = true")
        with pytest.raises(duckdb.ParserException, match="exception_type"):
            one.execute("SELEC 1")
        with pytest.raises(duckdb.ParserException) as told:
            other.execute("SELEC 1")
        assert "exception_type" not in str(told.value)
        one.close()
        assert other.execute("SELECT 1").fetchall() == [(1,)]
    assert engine.parser().execute("SELECT 1").fetchall() == [(1,)]
