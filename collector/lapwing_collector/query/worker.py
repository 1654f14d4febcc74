"""SQL in a process of its own, with a deadline and an address-space limit: what runs over is killed."""

import multiprocessing
import queue
import resource
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from lapwing_collector.errors import LapwingError, QueryError
from lapwing_collector.query.session import Session

_ADDRESS_SPACE_BYTES: Final = 8 << 30
"""DuckDB maps far more than its memory limit; this stops what ignores the limit."""

_START_TIMEOUT_S: Final = 30.0


class QueryProcess:
    """A child process that answers SQL over the lake, one query at a time.

    It starts with the first query, and anew after it was killed. Calls from several threads wait their turn.
    """

    def __init__(self, lake: Path) -> None:
        """Answer queries over the lake in folder `lake`."""
        self._lake = lake
        self._lock = threading.Lock()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def run(self, sql: str, parameters: Mapping[str, Any], timeout_s: float) -> pa.Table:
        """Answer one SELECT within `timeout_s` seconds.

        Raises:
            QueryError: The SQL is refused, fails, or takes too long; then its process is killed.
        """
        with self._lock:
            connection = self._started()
            try:
                connection.send((sql, dict(parameters)))
                if not connection.poll(timeout_s):
                    self._kill()
                    raise QueryError(f"took longer than {timeout_s:g} s and was stopped")
                answer = connection.recv()
            except (EOFError, OSError) as error:
                self._kill()
                raise QueryError("the query process died, most likely for lack of memory") from error
            if isinstance(answer, QueryError):
                raise answer
            return pa.ipc.open_stream(answer).read_all()

    def close(self) -> None:
        """Stop the process, in the middle of a query if need be; that query fails."""
        if self._process is not None:
            self._process.kill()
        with self._lock:
            self._kill()

    def _started(self) -> Connection:
        if self._connection is not None:
            return self._connection
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._lake), daemon=True, name="lapwing-query")
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        try:
            failure = ours.recv() if ours.poll(_START_TIMEOUT_S) else "it did not start in time"
        except EOFError:
            failure = "it died while starting"
        if failure is not None:
            self._kill()
            raise QueryError(f"the query process cannot work: {failure}")
        return ours

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


class QueryPool:
    """Some query processes that share the work; each query goes to one that is free."""

    def __init__(self, lake: Path, size: int) -> None:
        """Answer queries over the lake in folder `lake`, up to `size` at a time."""
        self._all = [QueryProcess(lake) for _ in range(size)]
        self._idle: queue.LifoQueue[QueryProcess] = queue.LifoQueue()
        for process in self._all:
            self._idle.put(process)

    def run(self, sql: str, parameters: Mapping[str, Any], timeout_s: float) -> pa.Table:
        """Answer one SELECT within `timeout_s` seconds, not counting the wait for a free process.

        Raises:
            QueryError: As `QueryProcess.run`.
        """
        process = self._idle.get()
        try:
            return process.run(sql, parameters, timeout_s)
        finally:
            self._idle.put(process)

    def close(self) -> None:
        """Stop every process; queries under way fail."""
        for process in self._all:
            process.close()


def _serve(connection: Connection, lake: Path) -> None:
    """Answer queries until the other end closes. First message: None, or why it cannot work."""
    # Ctrl-C reaches the whole process group; the owner decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        session = Session.open(lake, threads=1)
    except LapwingError as error:
        connection.send(str(error))
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(ValueError, OSError):  # macOS does not take it
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, hard))
    connection.send(None)
    while True:
        try:
            sql, parameters = connection.recv()
        except EOFError:
            return
        try:
            connection.send(_as_stream(session.run(sql, parameters)))
        except QueryError as error:
            connection.send(error)
        except MemoryError:
            connection.send(QueryError("ran out of memory"))


def _as_stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
