"""The query process itself: answers queries until the other end of its pipe closes.

What it sends is data and never code: a head of JSON, with all of a short answer behind it; of a longer one
come pieces, then an empty one. Whoever reads it need not trust a process that ran a stranger's SQL.
"""

import json
import os
import pickle
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

import duckdb

from lapwing_collector import sandbox
from lapwing_collector.engine.place import Place
from lapwing_collector.errors import DamagedFileError, LapwingError, QueryError
from lapwing_collector.model.queries import Ask
from lapwing_collector.query.limits import Limits
from lapwing_collector.query.render import Rendered, render
from lapwing_collector.query.session import Session

Sent = TypeVar("Sent")

PIECE_BYTES: Final = 256 * 1024
LOOKS_S: Final = 0.05
"""How often is looked, while somebody asks again and again, whether something came for the next query."""
LEAVES_S: Final = 10.0
"""Time without a query after which nobody is expected to ask again."""
RESTS_S: Final = 0.5
"""Time without a query after which nothing stays open for the next: the catalog's log could not be cut."""
HEAD_BYTES: Final = 4
"""What a message with a head begins with: how long the head is."""

_SPOILS: Final = (duckdb.OutOfMemoryException, duckdb.InternalException, duckdb.FatalException, MemoryError)
"""What leaves DuckDB in a state that the next query had better not meet."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Where the lake is, what a process may use, and which snapshot it reads; the newest if None."""

    place: Place
    limits: Limits
    snapshot: int | None


@dataclass(frozen=True, slots=True)
class Task:
    """A query, how long it may take, and whether it reads the lake's own small tables from memory."""

    ask: Ask
    timeout_s: float
    holding: bool = False


def serve(descriptor: int, landlock: int) -> None:
    """Answer tasks that come through `descriptor`, after the sandbox was entered.

    Args:
        descriptor: One end of a pair of sockets. First comes an `Opening`; it is answered with a head.
        landlock: The version of Landlock that holds.
    """
    connection = Connection(descriptor)
    opening = _taken(connection, Opening)
    limits = opening.limits
    try:
        session = Session.open(opening.place, limits, opening.snapshot)
    except LapwingError as error:
        _send_head(connection, _told(error))
        return
    session.run("SELECT 1")  # what is loaded late is loaded before memory is bounded
    sandbox.limit_address_space(limits.address_space_bytes)
    _send_head(connection, {"landlock": landlock})
    _be_silent()
    while True:
        try:
            _wait(connection, session)
            task = _taken(connection, Task)
        except EOFError:
            return
        except (ImportError, AttributeError) as error:
            unknown = (
                f"a parameter is nothing that SQL has: give text, numbers, times or lists of these ({error})"
            )
            _send_head(connection, _told(QueryError(unknown)))
            continue
        sandbox.limit_cpu(task.timeout_s * limits.threads + 1)
        if not _answer(connection, session, task):
            return


def _wait(connection: Connection, session: Session) -> None:
    """Wait for a task, or for the first while, in which it is made ready what the next one may ask for."""
    since_s = time.monotonic()
    waited_s = 0.0
    while waited_s < LEAVES_S and not connection.poll(LOOKS_S):
        waited_s = time.monotonic() - since_s
        if waited_s >= RESTS_S:
            session.rest()
        session.keep_up()


def _taken(connection: Connection, kind: type[Sent]) -> Sent:
    sent = pickle.loads(connection.recv_bytes())  # noqa: S301  # from the process that started this one
    assert isinstance(sent, kind)  # noqa: S101
    return sent


def _answer(connection: Connection, session: Session, task: Task) -> bool:
    """Answer one query; False if this process had better be replaced."""
    ask = task.ask
    try:
        # DuckDB says no more of text that cannot be encoded than that it is no text.
        json.dumps([ask.sql, dict(ask.parameters)], ensure_ascii=False, default=str).encode()
        if ask.explain:
            rendered = render(session.explain(ask.sql).to_reader(), ask)
        else:
            rendered = session.stream(
                ask.sql, ask.parameters, lambda rows: render(rows, ask), holding=task.holding
            )
    except QueryError as error:
        spoilt = isinstance(error.__cause__, _SPOILS)
        _send_head(connection, _told(error) | {"last": spoilt})
        return not spoilt
    except UnicodeEncodeError as error:
        half = f"the query or a parameter of it has half a character, which is no text: {error}"
        _send_head(connection, _told(QueryError(half)))
        return True
    except Exception as error:  # noqa: BLE001
        # Whoever asked is told what it was, and not that a process died.
        unforeseen = f"this query cannot be answered: {type(error).__name__}: {error}"
        _send_head(connection, _told(QueryError(unforeseen)) | {"last": True})
        return False
    head = {"rows": rendered.rows, "truncated": rendered.truncated}
    if sum(map(len, rendered.data)) <= PIECE_BYTES:
        _send_head(connection, head | {"whole": True}, b"".join(rendered.data))
        return True
    _send_head(connection, head)
    for piece in _pieces(rendered):
        connection.send_bytes(piece)
    connection.send_bytes(b"")
    return True


def _pieces(rendered: Rendered) -> Iterator[memoryview]:
    for data in rendered.data:
        for start in range(0, len(data), PIECE_BYTES):
            yield memoryview(data)[start : start + PIECE_BYTES]


def _told(error: LapwingError) -> dict[str, Any]:
    told: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, QueryError):
        told |= {"position": error.position, "candidates": error.candidates}
    if isinstance(error, DamagedFileError):
        told["file"] = error.file
    return told


def _send_head(connection: Connection, head: dict[str, Any], body: bytes = b"") -> None:
    text = json.dumps(head).encode()
    connection.send_bytes(b"".join((len(text).to_bytes(HEAD_BYTES), text, body)))


def _be_silent() -> None:
    """Leave the terminal or log of the parent alone from now on."""
    os.dup2(1, 2)  # its output goes nowhere already
