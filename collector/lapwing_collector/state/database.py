"""The connection to the state database: its two kinds of transaction, and what is done where it is away."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from lapwing_collector.errors import DataDirectoryError, StateUnavailableError
from lapwing_collector.state.dialects import OwnedElsewhereError, Place, Role, keep, written
from lapwing_collector.state.schema import leadership, migrate

logger = logging.getLogger(__name__)

_RETRY_AFTER_S: Final = 5
_LOOK_S: Final = 0.5
"""How often it is looked whether the database is back."""


class Database:
    """One state database. Threads and processes may share it; writers take turns, and one may own it."""

    def __init__(
        self,
        place: Place,
        *,
        owner: bool = False,
        patient: bool = False,
        make: bool = True,
        now: datetime | None = None,
        wait_s: float | None = None,
        quiet: bool = False,
    ) -> None:
        """Connect, and make or migrate the tables.

        Args:
            place: Where it is.
            owner: Be the one that leads those who work with it, for as long as no other does: another one can
                begin only when nothing more can be written here.
            patient: While it is away, and be it at the start, all that is asked fails at once; a thread
                connects again as soon as it is back. An owner is.
            make: Whether the tables are made where there are none.
            now: When this is, for an owner, so that others know since when it leads.
            wait_s: How long an owner waits for the one before it to end; 10 s if None.
            quiet: Say nothing when it goes away and comes back, since somebody else does.

        Raises:
            DataDirectoryError: It cannot be used, another collector owns it, or there is none and none is to
                be made; the message says why.
            StateUnavailableError: It is away, and this is neither owner nor patient.
        """
        self._place = place
        self._make = make
        self._reading, self._writing_engine = place.engines(owner=owner, wait_s=wait_s)
        self._owner = owner
        self._patient = owner or patient
        self._since = now
        self._quiet = quiet
        self._term: int | None = None
        self._lost = False
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
            if not self._patient:
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

    @property
    def name(self) -> str:
        """What this process is called among those who share it."""
        return self._place.session

    @property
    def lost(self) -> bool:
        """Whether another one leads, or did since: nothing is written by this owner any more."""
        return self._lost

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

    @contextmanager
    def note(self) -> Iterator[Connection]:
        """A transaction that takes no turn, for what nobody looks at in the order of commits.

        Raises:
            StateUnavailableError: It is away.
        """
        if not self._place.breaks:
            with self.write() as connection:
                yield connection
            return
        with self._watched(), self._reading.connect() as connection, _whole(connection):
            aside = connection.execution_options(lapwing_note=True)
            with aside.begin():
                yield aside

    def number_after(self, connection: Connection, table: str, number: int) -> None:
        """Give rows of a table greater numbers than this from now on, in a transaction that writes."""
        self._place.number_after(connection, table, number)

    def holder(self, role: Role) -> str | None:
        """The name of the process whose session holds the lock of a role; None where none does."""
        with self.note() as connection:
            return self._place.holder(connection, role)

    def evict(self, name: str, role: Role) -> None:
        """End the session by which a process holds the lock of a role, if it does."""
        with self.note() as connection:
            self._place.evict(connection, name, role)

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
        with self._borrowed() if self._place.breaks else self._on_kept() as connection:
            term = self._get_ready(connection)
            yield connection
        self._migrated = True
        self._term = term

    @contextmanager
    def _borrowed(self) -> Iterator[Connection]:
        with self._writing_engine.connect() as connection, _whole(connection):
            writing = connection.execution_options(lapwing_write=True)
            with writing.begin():
                yield writing

    @contextmanager
    def _on_kept(self) -> Iterator[Connection]:
        """A transaction on the connection that stays, where none breaks: taking one takes long."""
        if self._kept is None or self._kept.closed:
            self._kept = keep(self._writing_engine)
        with written(self._kept):
            yield self._kept

    def _get_ready(self, connection: Connection) -> int | None:
        """Bring the tables up to date before the first transaction, and begin or check the owner's term."""
        if not self._migrated:
            migrate(connection, self._place.name, make=self._make)
        if not self._owner or (self._term is not None and not self._place.breaks):
            return self._term
        known = connection.execute(select(leadership.c.term)).scalar_one_or_none()
        if self._term is None:
            term: int = (known or 0) + 1
            connection.execute(delete(leadership))
            connection.execute(
                insert(leadership).values(term=term, name=self._place.session, since=self._since)
            )
            return term
        if known != self._term:
            raise OwnedElsewhereError(
                f"{self._place.name}: another collector leads, or did meanwhile; what this one knows is old"
            )
        return self._term

    def _watched(self) -> AbstractContextManager[None]:
        """Let nobody wait in vain while it is known to be away, and take note where it is from now on."""
        return self._watching() if self._place.breaks else nullcontext()  # a file is there or broken

    @contextmanager
    def _watching(self) -> Iterator[None]:
        if self._problem is not None and self._patient:
            raise self._unavailable()
        if self._owner and self._closed.is_set():
            # A thread that hung: to connect again could keep the lock from who leads next.
            raise StateUnavailableError(f"{self._place.name}: it is closed", retry_after_s=_RETRY_AFTER_S)
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
            if self._term is None:
                raise
            self._lost = True  # whoever holds the lock has a term of its own, or is about to
            self._miss(str(error))
            raise self._unavailable() from error

    def _unavailable(self) -> StateUnavailableError:
        return StateUnavailableError(
            f"{self._place.name}: the alert state is away: {self._problem}", retry_after_s=_RETRY_AFTER_S
        )

    def _miss(self, why: str) -> None:
        """Tell people, once, and look for it; who is not patient just fails, and tries anew."""
        with self._missing:
            known, self._problem = self._problem, why
            if known is not None or not self._patient:
                return
            self._back.clear()
        if self._lost:
            return
        if not self._quiet:
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
            except OwnedElsewhereError as error:  # before it ever was the owner
                self._lost, self._problem = True, str(error)
                return
            except (DataDirectoryError, SQLAlchemyError) as error:
                self._problem = str(error)
                continue
            self._problem = None
            if not self._quiet:
                logger.info(
                    "%s: the alert state is back after %.1f s",
                    self._place.name,
                    time.monotonic() - since_s,
                    extra={"action": "state_back"},
                )
            self._back.set()
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
