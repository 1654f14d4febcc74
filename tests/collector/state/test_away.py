"""State in PostgreSQL: who owns it, and what is done while it is away."""

import logging
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from helpers.notify_alerts import NOON, RULE, message, put
from helpers.waiting import wait_until
from lapwing_collector.errors import ConfigError, DataDirectoryError, StateUnavailableError
from lapwing_collector.model.alerts import RuleState
from lapwing_collector.state import PostgresServer, Store, dialects

if TYPE_CHECKING:
    from helpers.postgres import Server

WAIT_S = 60


@pytest.fixture
def server(postgres: "Server", monkeypatch: pytest.MonkeyPatch) -> "Server":
    """A server with an empty schema, whose locks nobody waits for for long."""
    monkeypatch.setitem(dialects._SESSION, "lock_timeout", "200ms")
    postgres.empty()
    return postgres


def test_state_has_one_owner(server: "Server") -> None:
    """A second collector is refused, and told by whom; commands are not, nor the next collector."""
    with closing(Store.own(PostgresServer(server.url))) as first:
        with pytest.raises(DataDirectoryError, match=r"another collector works with this state \(lapwing .*"):
            Store.own(PostgresServer(server.url))
        with closing(Store.find(PostgresServer(server.url))) as command:
            put(command, message("a"))
        assert [row.message.key for row in first.outbox_rows()] == ["a"]
    Store.own(PostgresServer(server.url)).close()


def test_schemas_of_a_database_are_states_of_their_own(server: "Server") -> None:
    """Two projects may share a database: their collectors do not keep each other out."""
    with closing(Store.own(PostgresServer(server.url))) as first:
        put(first, message("a"))
        with closing(Store.own(PostgresServer(server.empty()))) as second:
            assert second.outbox_rows() == []


def test_an_owner_goes_on_when_the_server_is_back(server: "Server", caplog: pytest.LogCaptureFixture) -> None:
    """A server that crashed is told of once, loses nothing, and is used when it is back."""
    with closing(Store.own(PostgresServer(server.url))) as store:
        store.commit(RULE, RuleState("d", NOON), [], [], [], NOON)
        with caplog.at_level(logging.INFO):
            server.stop()
            try:
                for _ in range(3):
                    with pytest.raises(StateUnavailableError, match="the alert state is away"):
                        store.load_rules()
                assert store.problem is not None
                assert not store.wait(0)
            finally:
                server.start()
            assert store.wait(WAIT_S)
        assert store.problem is None
        assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
        assert store.load_rules() == {RULE: RuleState("d", NOON)}
        put(store, message("a"))
        with pytest.raises(DataDirectoryError, match="another collector"):  # the lock is held again
            Store.own(PostgresServer(server.url))


def test_an_owner_starts_without_a_server(server: "Server") -> None:
    """A server that comes later is used as soon as it is there; a command says that it is not."""
    server.stop()
    try:
        store = Store.own(PostgresServer(server.url))
        with pytest.raises(StateUnavailableError):
            store.load_rules()
        with pytest.raises(StateUnavailableError, match=r"^postgresql://lapwing@.*: the alert state is away"):
            Store.find(PostgresServer(server.url))
    finally:
        server.start()
    with closing(store):
        assert store.wait(WAIT_S)
        assert store.load_rules() == {}


def test_who_lost_the_state_to_another_writes_no_more(server: "Server") -> None:
    """What an owner remembers is old once another one worked: it stays away even when that one has ended."""
    with closing(Store.own(PostgresServer(server.url))) as first:
        put(first, message("a"))
        mine = "application_name LIKE 'lapwing % owner'"
        server.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {mine}")
        with closing(Store.own(PostgresServer(server.url))) as second:
            with pytest.raises(StateUnavailableError):
                put(first, message("b"))
            put(second, message("c"))
        wait_until(lambda: first.lost)
        assert "another collector" in str(first.problem)
        with pytest.raises(StateUnavailableError):
            put(first, message("d"))
    with closing(Store.own(PostgresServer(server.url))) as third:
        assert [row.message.key for row in third.outbox_rows()] == ["c", "a"]


def test_a_session_that_was_lost_does_not_keep_its_own_owner_out(server: "Server") -> None:
    """Where the network swallowed a connection, the server still thinks that it holds the lock."""
    with closing(Store.own(PostgresServer(server.url))) as store:
        put(store, message("a"))
        held = store._database._writing_engine.pool
        lost = held.connect()
        held.dispose()
        store._database._writing_engine.pool = held.recreate()
        put(store, message("b"))
        assert len(store.outbox_rows()) == 2
        lost.invalidate()


def test_a_password_is_shown_to_the_server_alone(server: "Server") -> None:
    """The right one lets in; the wrong one is refused in the server's words, and no message has either."""
    server.execute("ALTER ROLE lapwing PASSWORD 'p@ss:word/é'")
    with closing(Store.own(PostgresServer(server.url_for_password, "p@ss:word/é"))) as store:
        assert store.load_rules() == {}
    with pytest.raises(DataDirectoryError, match="password authentication failed") as refused:
        Store.own(PostgresServer(server.url_for_password.replace("@", ":wrong-one@")))
    assert "wrong-one" not in str(refused.value)
    with pytest.raises(DataDirectoryError, match='database "nowhere" does not exist'):
        Store.own(PostgresServer(server.url.replace("/postgres", "/nowhere")))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://u:secret@h/d", "expected an address such as postgresql://user@host/database"),
        ("postgresql://h/d", "expected an address"),
        ("postgresql://u:secret@h:port/d", "expected an address"),
        (
            "postgresql://u:secret@h/d?sslmode=no",
            "verify-ca, verify-full as sslmode, not no",
        ),
        ("postgresql://u:secret@h/d?sslmode=verify-full&sslrootcert=/no/file", "sslrootcert: /no/file"),
        (
            "postgresql://u:secret@h/d?pool=3",
            "pool is not known in an address; sslmode, sslrootcert",
        ),
    ],
)
def test_an_address_that_is_none_is_told(url: str, told: str) -> None:
    """What is wrong with an address is told, without its password."""
    with pytest.raises(ConfigError, match=r"^state\.url: ") as refused:
        PostgresServer(url)
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)


def test_nothing_is_made_where_no_collector_ran(server: "Server") -> None:
    """A command that meets an empty database leaves it empty."""
    with pytest.raises(DataDirectoryError, match="no collector has run here yet"):
        Store.find(PostgresServer(server.url))
    with pytest.raises(DataDirectoryError, match="no collector has run here yet"):
        Store.find(PostgresServer(server.url))


def test_a_text_that_the_server_cannot_keep_is_kept_nearly(server: "Server") -> None:
    """A NUL, of which PostgreSQL has none, becomes its symbol."""
    with closing(Store.own(PostgresServer(server.url))) as store:
        put(store, message("a", title="x\0y"))
        assert [row.message.title for row in store.outbox_rows()] == ["x\N{SYMBOL FOR NULL}y"]
