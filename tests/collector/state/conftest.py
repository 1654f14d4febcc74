"""Every test of state meets both databases that may keep it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lapwing_collector.state import PostgresServer, SqliteFile, Store
from lapwing_collector.state.dialects import Place


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where state is to be; nothing is there yet."""
    if request.param == "sqlite":
        return SqliteFile(tmp_path / "state.sqlite")
    return PostgresServer(request.getfixturevalue("postgres").empty())


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    """An empty store."""
    store = Store.open(place)
    yield store
    store.close()
