"""The near end of a query process: starts it, asks it, and kills it when it runs over."""

import json
import pickle
import select
import socket
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from lapwing_collector.engine.place import Place, place_of
from lapwing_collector.errors import (
    DamagedFileError,
    DataDirectoryError,
    NotSeenYetError,
    QueryError,
    QueryLimitError,
    RefusedQueryError,
)
from lapwing_collector.model.queries import Answer, Ask
from lapwing_collector.query.child import Child, Spawned
from lapwing_collector.query.limits import Limits
from lapwing_collector.query.serve import HEAD_BYTES, PIECE_BYTES, Opening, Task
from lapwing_collector.sandbox import Needs

Start = Callable[[socket.socket, Needs], Child]

_START_S: Final = 30.0
_PIECE_S: Final = 10.0
"""An answer is complete before its first piece comes; a piece that is late never comes."""

_LONGEST_HEAD_BYTES: Final = 4 * 1024 * 1024

_ERRORS: Final[dict[str, type[QueryError]]] = {
    kind.__name__: kind for kind in (QueryError, NotSeenYetError, RefusedQueryError, QueryLimitError)
}


class QueryProcess:
    """A child process that answers SQL over the lake, one query at a time.

    It shares nothing with this process but one pair of sockets: no environment, no open files, no terminal.

    Attributes:
        landlock: The version of Landlock that holds in it; 0 where the kernel has none.
    """

    def __init__(
        self, where: Place | Path, limits: Limits, snapshot: int | None = None, start: Start = Spawned
    ) -> None:
        """Start it and wait until it is ready.

        Args:
            where: Where the lake is; a folder stands for a lake that is all in it.
            limits: What it may use.
            snapshot: The one of the lake that it reads; the newest, query by query, if None.
            start: Starts it with its end of a pair of sockets. On Linux one that is spawned dies with the
                thread that calls this, one that is forked with the process.

        Raises:
            DataDirectoryError: There is no lake, or it cannot be read.
            QueryError: It cannot work.
        """
        place = place_of(where)
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = start(theirs, Needs.of(place.readable, place.ports))
        self._connection = Connection(ours.detach())
        self._came = select.poll()
        self._came.register(self._connection, select.POLLIN)
        self._killed_because: str | None = None
        self._asked = False
        try:
            self._connection.send_bytes(pickle.dumps(Opening(place, limits, snapshot)))
            head, _ = self._head(_START_S, "the query process did not start in time")
        except BaseException:
            self.kill("")
            self.close()
            raise
        self.landlock = int(head["landlock"])

    def ask(self, ask: Ask, timeout_s: float, *, holding: bool = False) -> Answer:
        """Answer one query; the rows come from the process while they are taken from the answer.

        With `holding` it reads the lake's own small tables from memory, and keeps them there for the next.

        Raises:
            QueryError: The SQL is refused or fails.
            QueryLimitError: It takes longer than `timeout_s` seconds, or too much memory.
        """
        self._asked = True
        try:
            self._connection.send_bytes(pickle.dumps(Task(ask, timeout_s, holding)))
        except OSError as error:
            raise self._died() from error
        head, body = self._head(
            timeout_s,
            f"the query took longer than {timeout_s:g} s and was stopped: read less, "
            "for example a shorter time, or raise query.timeout in the settings",
        )
        if head.get("whole"):
            self._asked = False
            return Answer(head["rows"], head["truncated"], iter((body,)), lambda: None, whole=body)
        return Answer(head["rows"], head["truncated"], self._pieces(), lambda: None)

    @property
    def alive(self) -> bool:
        """Whether it can be asked again."""
        return self._killed_because is None and not self._child.ended()

    @property
    def idle(self) -> bool:
        """Whether nobody waits for an answer of it."""
        return not self._asked

    def kill(self, reason: str) -> None:
        """End it at once, from any thread; a query under way fails for `reason`."""
        if self._killed_because is None:
            self._killed_because = reason
        self._child.kill()

    def close(self) -> None:
        """End it and wait until it is gone; closing twice is harmless."""
        self.kill("the query process was closed")
        self._child.wait()
        self._connection.close()

    def _head(self, timeout_s: float, late: str) -> tuple[dict[str, Any], bytes]:
        """What comes next, and all of a short answer behind it."""
        try:
            if not self._comes(timeout_s):
                self.kill(late)
                raise QueryLimitError(late)
            message = self._connection.recv_bytes(_LONGEST_HEAD_BYTES)
        except (EOFError, OSError) as error:
            raise self._died() from error
        end = HEAD_BYTES + int.from_bytes(message[:HEAD_BYTES])
        head: dict[str, Any] = json.loads(message[HEAD_BYTES:end])
        if "error" in head:
            self._asked = False
            if head.get("last"):
                self.kill("the query process is dead")
            raise _error(head)
        return head, message[end:]

    def _comes(self, timeout_s: float) -> bool:
        """Wait until there is something to read, or nothing will come any more."""
        return bool(self._came.poll(timeout_s * 1000))

    def _pieces(self) -> Iterator[bytes]:
        while True:
            try:
                if not self._comes(_PIECE_S):
                    self.kill("the query process is stuck")
                piece = self._connection.recv_bytes(PIECE_BYTES)
            except (EOFError, OSError) as error:
                raise self._died() from error
            if not piece:
                self._asked = False
                return
            yield piece

    def _died(self) -> QueryError:
        if self._killed_because is not None:
            return QueryError(self._killed_because)
        self._killed_because = "the query process is dead"
        return QueryLimitError("the query process died, most likely for lack of memory: read less at a time")


def _error(head: dict[str, Any]) -> Exception:
    if head["error"] == DataDirectoryError.__name__:
        return DataDirectoryError(head["message"])
    if head["error"] == DamagedFileError.__name__:
        return DamagedFileError(head["message"], file=head.get("file"))
    kind = _ERRORS.get(head["error"], QueryError)
    return kind(head["message"], position=head.get("position"), candidates=tuple(head.get("candidates", ())))
