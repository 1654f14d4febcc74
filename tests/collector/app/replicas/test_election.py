"""A role that one process has of all that share a state, over a real PostgreSQL server."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.waiting import wait_until
from lapwing_collector.app.replicas.election import Election
from lapwing_collector.app.replicas.succession import SILENT_AFTER_S
from lapwing_collector.model.replicas import Replica
from lapwing_collector.state import PostgresServer, Role, SqliteFile, Store

if TYPE_CHECKING:
    from helpers.postgres import Server

NOON = datetime(2026, 1, 1, 12)


class Voter:
    """A process, as far as its role goes; its time passes as the test says."""

    def __init__(self, url: str) -> None:
        self.place = PostgresServer(url)
        self.store = Store.join(self.place)
        self.time_s = 100.0
        self.election = Election(self.place, self.store, Role.MAINTENANCE, lambda: self.time_s)

    def look(self, passed_s: float = 0.5) -> bool:
        self.time_s += passed_s
        self.election.look()
        return self.election.elected

    def beat(self, beats: int) -> None:
        self.store.beat(Replica(self.place.session, "collect", "http://a", "1", NOON, beats, NOON))


@pytest.fixture
def voters(postgres: "Server") -> Iterator[tuple[Voter, Voter]]:
    """Two processes that share a state."""
    postgres.empty()
    first, second = Voter(postgres.url), Voter(postgres.url)
    with closing(first.store), closing(second.store):
        yield first, second
        for each in (first, second):
            each.election._seat.release()


def test_one_has_a_role_until_it_ends(voters: tuple[Voter, Voter]) -> None:
    """The next one has it when the first lets go, or its session is lost, of which that one learns."""
    first, second = voters
    assert first.look()
    assert not second.look()
    first.election._seat.release()
    wait_until(second.look)
    assert not first.look()
    first.store.evict(second.place.session, Role.MAINTENANCE)
    wait_until(first.look)
    assert not second.look()


def test_one_that_is_silent_loses_it(voters: tuple[Voter, Voter]) -> None:
    """Who tells nothing for a while is replaced; who tells is not, nor who leads for anything else."""
    first, second = voters
    with closing(Store.own(first.place)):
        assert first.look()
        for number in range(20):
            first.beat(number)
            assert not second.look(1)
        while not second.look(1):
            assert second.time_s < 120 + 3 * SILENT_AFTER_S
        assert not first.look()
        assert second.store.holder() == first.place.session


def test_a_state_of_one_process_gives_it_all_roles(tmp_path: Path) -> None:
    """There is nobody to ask."""
    place = SqliteFile(tmp_path / "state.sqlite")
    with closing(Store.own(place)) as store:
        election = Election(place, store, Role.MAINTENANCE)
        assert election.elected
        election.start()
        assert election.close(0)
