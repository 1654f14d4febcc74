"""Query processes, started ahead: one waits, so that who lost theirs need not wait for another to start."""

import logging
import queue
import threading
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Final

from lapwing_collector.engine.place import Place, place_of
from lapwing_collector.errors import LapwingError, QueryError
from lapwing_collector.query.limits import Limits
from lapwing_collector.query.origin import ORIGIN
from lapwing_collector.query.process import QueryProcess

_LOGGER: Final = logging.getLogger(__name__)


class Spare:
    """Gives out ready query processes, and from the first on keeps another one ready.

    One thread starts all of them and lives as long as this does, since who cannot be forked dies with it.
    """

    def __init__(self, where: Place | Path, limits: Limits, snapshot: int | None = None) -> None:
        """Start nothing yet; processes read `snapshot` of the lake, or the newest if None."""
        self._place = place_of(where)
        self._limits = limits
        self._snapshot = snapshot
        self._wanted: queue.SimpleQueue[Future[QueryProcess] | None] = queue.SimpleQueue()
        self._closed = False
        self._warned = False
        self._lock = threading.Lock()
        ORIGIN.hold()
        self._thread = threading.Thread(target=self._run, name="lapwing-query-starter", daemon=True)
        self._thread.start()

    def take(self) -> QueryProcess:
        """A process that nobody else has.

        Raises:
            QueryError: None can be started.
            DataDirectoryError: There is no lake.
        """
        answer: Future[QueryProcess] = Future()
        with self._lock:
            if self._closed:
                raise QueryError("the collector is shutting down")
            self._wanted.put(answer)
        return answer.result()

    def bury(self, process: QueryProcess) -> None:
        """Take back a process that is dead or about to be."""
        process.kill("the query was stopped")
        with suppress(OSError):
            process.close()

    def close(self) -> None:
        """Give out no more; who took processes has ended them, since they need not outlive this."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._wanted.put(None)
        self._thread.join()
        ORIGIN.let_go()

    def _run(self) -> None:
        ready: QueryProcess | None = None
        while (answer := self._wanted.get()) is not None:
            try:
                process = ready if ready is not None and ready.alive else self._start()
            except Exception as error:  # noqa: BLE001  # told to who asked
                answer.set_exception(error)
                continue
            answer.set_result(process)
            ready = None
            with suppress(LapwingError, OSError):
                ready = self._start()
        if ready is not None:
            ready.close()

    def _start(self) -> QueryProcess:
        process = QueryProcess(self._place, self._limits, self._snapshot, ORIGIN.start)
        if not process.landlock and not self._warned:
            self._warned = True
            _LOGGER.warning(
                "this kernel has no Landlock: only what DuckDB itself refuses keeps queries to the lake",
                extra={"action": "no_landlock"},
            )
        return process
