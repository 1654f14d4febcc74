"""The databases that may keep state, a SQLite file and PostgreSQL: all that tells them apart is here."""

import os
import secrets
import socket
import sqlite3
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from enum import StrEnum
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any, Final, Protocol, cast

from sqlalchemy import (
    URL,
    BigInteger,
    Connection,
    Dialect,
    Engine,
    Integer,
    create_engine,
    event,
    types,
)
from sqlalchemy import DateTime as _AnyDateTime
from sqlalchemy import Double as _AnyDouble
from sqlalchemy import Text as _AnyText
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import insert  # SQLAlchemy says `ON CONFLICT` of it to SQLite, too
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.types import TypeDecorator, TypeEngine

from lapwing_collector.errors import ConfigError, DataDirectoryError
from lapwing_collector.model.addresses import ServerAddress, state_address
from lapwing_collector.state.documents import as_json, of_json

__all__ = [
    "JSON",
    "DateTime",
    "Double",
    "Number",
    "Place",
    "PostgresServer",
    "Role",
    "Seat",
    "SqliteFile",
    "Text",
    "insert",
]

_LOCK_WAIT_S: Final = 30.0
"""How long a transaction waits for another process's; the longest one of ours takes milliseconds."""


class _SqliteMoment(sqlite.DATETIME):
    """A time as SQLAlchemy stores it in SQLite, made and read by what is written in C."""

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], str | None]:  # noqa: ARG002
        return lambda moment: None if moment is None else moment.isoformat(" ", "microseconds")

    def result_processor(
        self,
        dialect: Dialect,  # noqa: ARG002
        coltype: object,  # noqa: ARG002
    ) -> Callable[[str | None], datetime | None]:
        return lambda text: None if text is None else datetime.fromisoformat(text)


class _PostgresDouble(TypeDecorator[float]):
    """A number; NaN is none, as in SQLite."""

    impl = _AnyDouble
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:  # noqa: ARG002
        return None if value is None or isnan(value) else value


class _PostgresText(TypeDecorator[str]):
    """A text; PostgreSQL has none with a NUL in it, so that is shown as its symbol."""

    impl = _AnyText
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return value.replace("\0", "\N{SYMBOL FOR NULL}") if value is not None and "\0" in value else value


class _PostgresJSON(TypeDecorator[Any]):
    """JSON as text: what PostgreSQL takes for JSON has no infinite numbers and no halves of characters."""

    impl = _AnyText
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:  # noqa: ARG002
        return as_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else of_json(value)


DateTime: Final = _AnyDateTime().with_variant(_SqliteMoment(), "sqlite")  # type: ignore[no-untyped-call]
Double: Final[TypeEngine[float]] = _AnyDouble().with_variant(_PostgresDouble(), "postgresql")
JSON: Final = types.JSON().with_variant(_PostgresJSON(), "postgresql")
Text: Final = _AnyText().with_variant(_PostgresText(), "postgresql")
Number: Final = BigInteger().with_variant(Integer(), "sqlite")
"""What rows are numbered by: in SQLite all integers are alike, and only this word numbers rows by itself."""


class Role(StrEnum):
    """What one process does for all that share the state."""

    OWNER = "owner"
    """It decides what alerts do, and writes that through the connection that holds the lock."""
    MAINTENANCE = "maintenance"
    """It looks after the lake, and takes rows to it that rules record."""


class Seat(Protocol):
    """A lock of which there is one."""

    def holds(self) -> bool:
        """Whether it is held, as the database says now; False, too, where that is away."""
        ...

    def take(self) -> bool:
        """Hold it if nobody does; tells whether it is held."""
        ...

    def release(self) -> None:
        """Hold it no more; releasing twice is harmless."""
        ...


class Place(Protocol):
    """Where state is kept."""

    @property
    def name(self) -> str:
        """What messages call it; no secret is in it."""
        ...

    @property
    def breaks(self) -> bool:
        """Whether connections may break while they are not in use."""
        ...

    @property
    def shared(self) -> bool:
        """Whether several processes may share it, of which one leads."""
        ...

    @property
    def session(self) -> str:
        """What this process is called among those who share it; one name of all that ever were."""
        ...

    def exists(self) -> bool:
        """Whether a collector may have made it; False where it surely has not."""
        ...

    def engines(self, *, owner: bool, wait_s: float | None = None) -> tuple[Engine, Engine]:
        """What connects: for reading, and for writing.

        Transactions that write keep other writers out from their begin on, in this process and others, so
        that ids grow in the order of commits: on a server those that say `lapwing_write` among their
        execution options, to a file those of `keep` and `written`. Those that say `lapwing_note` write beside
        them; others see one state.

        Args:
            owner: Connections for writing hold a lock of which there is one.
            wait_s: How long they wait for it; 10 s if None.
        """
        ...

    def seat(self, role: Role) -> "Seat":
        """A lock of which there is one, to be held by a connection that does nothing else."""
        ...

    def holder(self, connection: Connection, role: Role) -> str | None:
        """The name of whose connection holds the lock of a role; None where nobody's does, or can."""
        ...

    def evict(self, connection: Connection, name: str, role: Role) -> None:
        """End the connection by which `name` holds the lock of a role."""
        ...

    def last_number(self, connection: Connection, table: str) -> int:
        """The last number that a row of a table was given, be it gone since; 0 where none was."""
        ...

    def number_after(self, connection: Connection, table: str, number: int) -> None:
        """Give rows of a table greater numbers than this from now on, and never one that was given."""
        ...

    def is_away(self, error: Exception) -> bool:
        """Whether the database cannot be reached, or not now; not whether anything is wrong with it."""
        ...

    def is_refusal(self, error: Exception) -> bool:
        """Whether it was reached and lets nobody in by this name and password."""
        ...

    def explain(self, error: Exception) -> str:
        """What an error of the database means, in its own words."""
        ...


class OwnedElsewhereError(DataDirectoryError):
    """Another collector works with the state."""


class SqliteFile:
    """A SQLite file. Who owns the data directory owns it."""

    breaks: Final = False
    shared: Final = False

    def __init__(self, path: Path) -> None:
        """Keep state in the file at `path`."""
        self._path = path
        self.name = str(path)
        self.session = "this process"

    def exists(self) -> bool:
        """Whether the file is there."""
        return self._path.exists()

    def engines(self, *, owner: bool, wait_s: float | None = None) -> tuple[Engine, Engine]:  # noqa: ARG002
        """One engine for all: connections are alike."""
        engine = create_engine(
            URL.create("sqlite", database=str(self._path)),
            # isolation_level None: transactions begin where `_begin` says, not where the driver guesses.
            connect_args={"timeout": _LOCK_WAIT_S, "isolation_level": None},
            max_overflow=-1,
            json_serializer=as_json,
            json_deserializer=of_json,
        )
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_in_sqlite)
        return engine, engine

    def seat(self, role: Role) -> "Seat":  # noqa: ARG002
        """One that is always this process's: there is no other."""
        return _OwnSeat()

    def holder(self, connection: Connection, role: Role) -> str | None:  # noqa: ARG002
        """Nobody's: the lock is that of the data directory."""
        return None

    def evict(self, connection: Connection, name: str, role: Role) -> None:
        """Nothing: there is one process."""

    def last_number(self, connection: Connection, table: str) -> int:
        """What SQLite remembers of tables that say so; of others the greatest that there is."""
        remembered = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,))
        greatest = connection.exec_driver_sql(f"SELECT max(id) FROM {table}")
        return max(remembered.scalar() or 0, greatest.scalar() or 0)

    def number_after(self, connection: Connection, table: str, number: int) -> None:
        """Have SQLite remember it, for tables that say so; others go on from the greatest there is."""
        if number <= self.last_number(connection, table):
            return
        connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        connection.exec_driver_sql("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, number))

    def is_away(self, error: Exception) -> bool:  # noqa: ARG002
        """Never: a file is there or broken."""
        return False

    def is_refusal(self, error: Exception) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def explain(self, error: Exception) -> str:
        """What SQLite says."""
        return (
            f"{error.orig if isinstance(error, DBAPIError) else error}. "
            "Check that it is a file that Lapwing made and that this user may write to it and its folder."
        )


class _OwnSeat:
    def holds(self) -> bool:
        return True

    def take(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def keep(engine: Engine) -> Connection:
    """Take a connection to a SQLite file, for `written`."""
    connection = engine.connect().execution_options(lapwing_kept=True)
    connection.begin()
    return connection


@contextmanager
def written(connection: Connection) -> Iterator[None]:
    """Write what happens inside to a SQLite file when it ends, or none of it on an exception.

    To SQLAlchemy all of these are one transaction without an end: it takes longer to pass on that one begins
    and ends than SQLite to do it.
    """
    driver = cast("sqlite3.Connection", connection.connection.dbapi_connection)
    try:
        # A transaction that reads before it writes fails at once where another writer came between, however
        # long the lock wait is; IMMEDIATE takes the write lock first.
        driver.execute("BEGIN IMMEDIATE")
        yield
        driver.commit()
    except sqlite3.Error as error:
        driver.rollback()
        raise OperationalError(None, None, error) from error
    except BaseException:
        driver.rollback()
        raise


def _begin_in_sqlite(connection: Connection) -> None:
    if not connection.get_execution_options().get("lapwing_kept", False):
        # By the driver itself: SQLAlchemy takes longer to pass it on than SQLite to do it.
        connection.connection.cursor().execute("BEGIN")


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("lapwing_write", False))


_SILENCE_S: Final = 15.0
"""After which a server that does not answer counts as gone."""
_SESSION: Final = {
    "client_encoding": "UTF8",
    "datestyle": "ISO",
    "lock_timeout": "10s",
    # A collector that lost its power, or its network, must not keep the lock from the one after it.
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_PASSES: Final = ("08", "25006", "40", "53", "55P03", "57", "58")
"""SQLSTATEs, or how they begin, of what is over before long: connections that break, a server that starts or
stops, one that is a standby still, has no room, or keeps a lock for too long."""
_REFUSES: Final = ("28", "3D", "42501")

# Two keys, so that each schema of a database may be the state of a project of its own.
_KEYS: Final = {Role.OWNER: 1_280_331_591, Role.MAINTENANCE: 1_280_331_613}
_WRITES: Final = 1_280_331_607
_OWN: Final = f"SELECT pg_advisory_lock({_KEYS[Role.OWNER]}, hashtext(current_schema()))"
_HOLDERS: Final = {
    role: "SELECT held.pid, session.application_name "
    "FROM pg_locks held JOIN pg_stat_activity session USING (pid) "
    f"WHERE held.locktype = 'advisory' AND held.classid = {key} "
    "AND held.objid::bigint = (hashtext(current_schema())::bigint & 4294967295) AND held.granted "
    "AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    for role, key in _KEYS.items()
}
_BEGIN_WRITING: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
    f"SELECT pg_advisory_xact_lock({_WRITES}, hashtext(current_schema()))"
)
_BEGIN_NOTING: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_BEGIN_READING: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresServer:
    """A database of a PostgreSQL server. Its owner is whose session holds a lock of it.

    All that its owner writes goes through the session with the lock, so that it writes nothing once the lock
    is lost and another has it.
    """

    breaks: Final = True
    shared: Final = True

    def __init__(self, url: str, password: str | None = None) -> None:
        """Keep state in the database at `url`, as `state_address` reads it.

        Args:
            url: The address.
            password: That of the user, if it is not in `url`.

        Raises:
            ConfigError: It is no such address, or the driver is not installed.
        """
        try:
            there = state_address(url)
        except ValueError as error:
            raise ConfigError(f"state.url: {error}") from error
        try:
            from lapwing_collector.state.pg8000 import connect  # noqa: PLC0415  # an extra
        except ImportError as error:
            raise ConfigError(
                "state.url: PostgreSQL needs a driver; install it with `pip install 'lapwing[postgres]'`"
            ) from error
        self._connect = partial(
            connect,
            there.user,
            port=there.port,
            database=there.database,
            password=there.password if password is None else password,
            startup_params=_SESSION,
            timeout=_SILENCE_S,
            **_connect_arguments(there),
        )
        self.name = there.shown
        self.session = f"lapwing {socket.gethostname()[:30]} {os.getpid()} {secrets.token_hex(4)}"

    def exists(self) -> bool:
        """Always: only the server could tell."""
        return True

    def engines(self, *, owner: bool, wait_s: float | None = None) -> tuple[Engine, Engine]:
        """Some connections that read; one that writes."""
        reading = self._engine("", pool_size=5, max_overflow=10)
        if not owner:
            return reading, reading
        writing = self._engine(f" {Role.OWNER}", pool_size=1, max_overflow=0)
        event.listen(writing, "connect", partial(self._own, wait_s))
        return reading, writing

    def seat(self, role: Role) -> "Seat":
        """A session of its own, once it is taken."""
        return _Session(
            partial(self._connect, application_name=f"{self.session} {role}"),
            f"SELECT pg_try_advisory_lock({_KEYS[role]}, hashtext(current_schema()))",
        )

    def holder(self, connection: Connection, role: Role) -> str | None:
        """The name of whose session holds the lock; of one that is none of ours, its number."""
        row = connection.exec_driver_sql(_HOLDERS[role]).first()
        return None if row is None else (row[1] or f"session {row[0]}").removesuffix(f" {role}")

    def evict(self, connection: Connection, name: str, role: Role) -> None:
        """End the session by which `name` holds the lock."""
        for pid, session in connection.exec_driver_sql(_HOLDERS[role]).all():
            if session == f"{name} {role}":
                connection.exec_driver_sql(f"SELECT pg_terminate_backend({int(pid)})")

    def last_number(self, connection: Connection, table: str) -> int:
        """What the table's sequence says."""
        last: int | None = connection.exec_driver_sql(
            f"SELECT pg_sequence_last_value(pg_get_serial_sequence('{table}', 'id'))"
        ).scalar()
        return last or 0

    def number_after(self, connection: Connection, table: str, number: int) -> None:
        """Have the table's sequence go on from there."""
        if number > self.last_number(connection, table):
            connection.exec_driver_sql(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {int(number)})"
            )

    def is_away(self, error: Exception) -> bool:
        """Whether the server cannot be reached, does not answer, or is not ready."""
        code = _code(error)
        if isinstance(error, DBAPIError) and not code:
            return error.connection_invalidated or type(error.orig).__name__ == "InterfaceError"
        return isinstance(error, (OSError, PoolTimeoutError)) or code.startswith(_PASSES)

    def is_refusal(self, error: Exception) -> bool:
        """Whether user, password, database or rights are not those that the server knows."""
        return _code(error).startswith(_REFUSES)

    def explain(self, error: Exception) -> str:
        """What the server, or the system, says."""
        told: BaseException = error.orig or error if isinstance(error, DBAPIError) else error
        said = told.args[0] if told.args else told
        if isinstance(said, Mapping):
            return str(said.get("M", said))
        return f"{said} ({told.__cause__})" if told.__cause__ is not None else str(said)

    def _engine(self, role: str, **pool: int) -> Engine:
        engine = create_engine(
            "postgresql+pg8000://",
            creator=partial(self._connect, application_name=f"{self.session}{role}"),
            paramstyle="numeric_dollar",
            pool_pre_ping=True,
            pool_timeout=_SILENCE_S,
            # Transactions begin where `_begin_in_postgres` says, not where the driver guesses.
            isolation_level="AUTOCOMMIT",
            **pool,
        )
        event.listen(engine, "begin", _begin_in_postgres)
        return engine

    def _own(self, wait_s: float | None, connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(_HOLDERS[Role.OWNER])
        for pid, name in cursor.fetchall():
            # A session that this process lost, and of which the server does not know yet that it is.
            if name == f"{self.session} {Role.OWNER}":
                cursor.execute(f"SELECT pg_terminate_backend({int(pid)})")
        try:
            if wait_s is not None:
                cursor.execute(f"SELECT set_config('lock_timeout', '{round(1000 * wait_s)}ms', false)")
            cursor.execute(_OWN)
            if wait_s is not None:
                cursor.execute("RESET lock_timeout")
        except Exception as error:
            if _code_of(error) != "55P03":
                raise
            cursor.execute(_HOLDERS[Role.OWNER])
            owners = ", ".join(name or f"session {pid}" for pid, name in cursor.fetchall())
            connection.close()
            raise OwnedElsewhereError(
                f"{self.name}: another collector works with this state ({owners or 'it has just ended'}); "
                "stop it first, or give each project a database or schema of its own"
            ) from error


class _Session:
    """A session that holds a lock, or tries to."""

    def __init__(self, connect: Callable[[], Any], lock: str) -> None:
        self._connect = connect
        self._lock = lock
        self._connection: Any = None

    def holds(self) -> bool:
        return self._connection is not None and self._ask("SELECT true")

    def take(self) -> bool:
        if self.holds():
            return True
        try:
            self._connection = self._connect()
        except Exception:  # noqa: BLE001  # whatever it is, there is no lock; the store tells people
            return False
        if self._ask(self._lock):
            return True
        self.release()
        return False

    def release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # it is broken, and the lock is gone with it
                connection.close()

    def _ask(self, sql: str) -> bool:
        try:
            cursor = self._connection.cursor()
            cursor.execute(sql)
            return bool(cursor.fetchone()[0])
        except Exception:  # noqa: BLE001  # as above
            self.release()
            return False


def _begin_in_postgres(connection: Connection) -> None:
    options = connection.get_execution_options()
    begin = _BEGIN_NOTING if options.get("lapwing_note") else _BEGIN_READING
    connection.exec_driver_sql(_BEGIN_WRITING if _writes(connection) else begin)


def _code(error: Exception) -> str:
    """The SQLSTATE of an error, empty where it has none."""
    return _code_of(error.orig) if isinstance(error, DBAPIError) else ""


def _code_of(error: BaseException | None) -> str:
    said = error.args[0] if error is not None and error.args else None
    return str(said.get("C", "")) if isinstance(said, Mapping) else ""


def _connect_arguments(there: ServerAddress) -> dict[str, Any]:
    """What the driver is told of how to get there."""
    if there.host.startswith("/"):
        return {"unix_sock": str(Path(there.host) / f".s.PGSQL.{there.port}"), "ssl_context": False}
    return {"host": there.host, "ssl_context": _tls(there.parameters)}


def _tls(parameters: Mapping[str, str]) -> ssl.SSLContext | bool | None:
    """How connections are encrypted: by a context, as the driver sees fit, or, if None, where they can be."""
    mode = parameters.get("sslmode", "prefer")
    authorities = parameters.get("sslrootcert")
    match mode:
        case "prefer":
            return None
        case "disable" | "require":
            return mode == "require"
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise ConfigError(f"state.url: sslrootcert: {authorities}: {error}") from error
    context.check_hostname = mode == "verify-full"
    return context
