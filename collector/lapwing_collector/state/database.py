"""The connection to the state database: its two kinds of transaction, and what is done where it is away."""

import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from lapwing_collector.errors import DataDirectoryError, StateUnavailableError
from lapwing_collector.state.dialects import OwnedElsewhereError, Place
from lapwing_collector.state.schema import migrate, owner

logger = logging.getLogger(__name__)

_RETRY_AFTER_S: Final = 5
_LOOK_S: Final = 0.5
"""How often it is looked whether the database is back."""
_KNOWN: Final = "lapwing_known"


class Database:
    """One state database. Threads and processes may share it; writers take turns."""

    def __init__(self, place: Place, *, owner: bool = False, make: bool = True) -> None:
        """Connect, and make or migrate the tables.

        Args:
            place: Where it is.
            owner: Be the one collector that works with it. While it is away, and be it at the start, all that
                is asked fails at once; a thread connects again as soon as it is back.
            make: Whether the tables are made where there are none.

        Raises:
            DataDirectoryError: It cannot be used, another collector owns it, or there is none and none is to
                be made; the message says why.
            StateUnavailableError: It is away, and this is no owner.
        """
        self._place = place
        self._make = make
        self._reading, self._writing_engine = place.engines(owner=owner)
        self._token = secrets.token_hex(8) if owner else None
        self._owned = self._lost = False
        # Inside a process a lock is fairer than that of a database, which polls with growing sleeps.
        self._writing = threading.Lock()
        self._kept: Connection | None = None
        self._migrated = False
        self._missing = threading.Lock()
        self._back = threading.Event()
        self._back.set()
        self._closed = threading.Event()
        self._problem: str | None = None
        try:
            self._reach()
        except StateUnavailableError:
            if not owner:
                self.close()
                raise
        except SQLAlchemyError as error:
            self.close()
            raise DataDirectoryError(
                f"{place.name}: cannot be used as the alert state: {place.explain(error)}"
            ) from error
        except DataDirectoryError:
            self.close()
            raise

    @property
    def problem(self) -> str | None:
        """Why it cannot be used; None if it can."""
        return self._problem

    def wait(self, timeout_s: float) -> bool:
        """Wait until it can be used; False if it cannot yet."""
        return self._back.wait(timeout_s)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database throughout.

        Raises:
            StateUnavailableError: It is away.
        """
        with self._watched(), self._reading.connect() as connection, _whole(connection):
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is on disk at the end of the block, or leaves nothing on an exception.

        Where the connection breaks at its very end, it may be on disk all the same.

        Raises:
            StateUnavailableError: It is away.
        """
        with self._writing, self._watched(), self._transaction() as connection:
            yield connection

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._closed.set()
        if self._kept is not None:
            with self._writing:
                self._kept.close()
        for engine in (self._reading, self._writing_engine):
            engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._writer() as connection:
            with connection.begin():
                self._get_ready(connection)
                yield connection
            self._migrated = True
            self._owned = self._token is not None
            connection.info[_KNOWN] = True

    @contextmanager
    def _writer(self) -> Iterator[Connection]:
        """A connection for who writes; where none breaks, one stays: taking one takes longer than writing."""
        if self._place.breaks:
            with self._writing_engine.connect() as connection, _whole(connection):
                yield connection.execution_options(lapwing_write=True)
            return
        if self._kept is None or self._kept.closed:
            self._kept = self._writing_engine.connect().execution_options(lapwing_write=True)
        yield self._kept

    def _get_ready(self, connection: Connection) -> None:
        """Bring the tables up to date before the first transaction; be known as owner with a connection's."""
        if not self._migrated:
            migrate(connection, self._place.name, make=self._make)
        if self._token is None or _KNOWN in connection.info:
            return
        known = connection.execute(select(owner.c.token)).scalar_one_or_none()
        if self._owned and known != self._token:
            self._lost = True
            raise OwnedElsewhereError(
                f"{self._place.name}: another collector worked with this state while it was away; restart "
                "this one"
            )
        if known != self._token:
            connection.execute(delete(owner))
            connection.execute(insert(owner).values(token=self._token))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Let nobody wait in vain while it is known to be away, and take note where it is from now on."""
        if self._problem is not None and self._token is not None:
            raise self._unavailable()
        with self._told_apart():
            yield

    @contextmanager
    def _told_apart(self) -> Iterator[None]:
        """Tell errors of a database that is away from others."""
        place = self._place
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            if not (place.is_away(error) or (self._migrated and place.is_refusal(error))):
                raise
            self._miss(place.explain(error))
            raise self._unavailable() from error
        except OwnedElsewhereError as error:
            if not self._migrated:
                raise
            self._miss(str(error))
            raise self._unavailable() from error

    def _unavailable(self) -> StateUnavailableError:
        return StateUnavailableError(
            f"{self._place.name}: the alert state is away: {self._problem}", retry_after_s=_RETRY_AFTER_S
        )

    def _miss(self, why: str) -> None:
        """Tell people, once, and look for it; what is no owner just fails, and tries anew."""
        with self._missing:
            known, self._problem = self._problem, why
            if known is not None or self._token is None:
                return
            self._back.clear()
        logger.error(
            "%s: the alert state is away: %s; rules and notifications wait for it, records are received",
            self._place.name,
            why,
            extra={"action": "state_away"},
        )
        threading.Thread(target=self._look_for_it, name="lapwing-state", daemon=True).start()

    def _look_for_it(self) -> None:
        since_s = time.monotonic()
        while not self._closed.wait(_LOOK_S):
            try:
                self._reach()
            except StateUnavailableError:
                if self._lost:
                    return
                continue
            except (DataDirectoryError, SQLAlchemyError) as error:
                self._problem = str(error)
                continue
            self._problem = None
            self._back.set()
            logger.info(
                "%s: the alert state is back after %.1f s",
                self._place.name,
                time.monotonic() - since_s,
                extra={"action": "state_back"},
            )
            return

    def _reach(self) -> None:
        """Go through a transaction that changes nothing."""
        with self._writing, self._told_apart(), self._transaction():
            pass


@contextmanager
def _whole(connection: Connection) -> Iterator[None]:
    """Use a connection no more that is broken, though the driver would go on with it, or not ours."""
    try:
        yield
    except (OSError, OwnedElsewhereError):
        connection.invalidate()
        raise
