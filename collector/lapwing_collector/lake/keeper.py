"""Keeps the write-ahead log of a SQLite catalog in place while readers come and go.

DuckDB opens the SQLite catalog anew for each transaction. When the last connection closes, SQLite folds its
log into the database and deletes it, under a lock that stalls whoever opens it next; two busy readers then
spend half their time waiting for each other. One connection that stays open prevents this. It must not be
in a process that has DuckDB, since a second SQLite library in a process drops the locks of the first.
"""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import duckdb

from lapwing_collector import engine
from lapwing_collector.engine.place import CatalogFile, Place, place_of

_SCRIPT: Final = """
import signal, sqlite3, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
connection = sqlite3.connect(sys.argv[1])
try:
    (newest,) = connection.execute("SELECT max(snapshot_id) FROM ducklake_snapshot").fetchone()
except sqlite3.OperationalError:  # an empty catalog
    newest = None
print("" if newest is None else newest, flush=True)
sys.stdin.read()
"""
"""Holds the connection until the owner closes the pipe, or dies; signals are the owner's to act on."""


class CatalogKeeper:
    """A small process that holds the catalog open until closed; none where the catalog is no file.

    Attributes:
        snapshot: The newest one when it began, known once it holds the catalog; None where there was none.
    """

    def __init__(self, place: Place, process: "subprocess.Popen[bytes] | None") -> None:
        """Use `start` or `begin` instead."""
        self._place = place
        self._process = process
        self.snapshot: int | None = None

    @classmethod
    def start(cls, where: Place | Path) -> Self:
        """Hold the catalog of a lake open from now on, if there is one that can be."""
        keeper = cls.begin(where)
        keeper.wait()
        return keeper

    @classmethod
    def begin(cls, where: Place | Path) -> Self:
        """Be about to hold it, while its owner has other things to do; `wait` returns when it is held."""
        place = place_of(where)
        if not isinstance(place.catalog, CatalogFile):
            return cls(place, None)
        command = [sys.executable, "-I", "-c", _SCRIPT, str(place.catalog.path)]
        process = subprocess.Popen(  # noqa: S603  # our own script
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # a terminal tells its owner alone, also while it does not ignore signals yet
        )
        return cls(place, process)

    def wait(self) -> None:
        """Wait until the catalog is held, or cannot be; waiting twice is harmless."""
        if self._process is None:
            self.snapshot = _newest(self._place) if self.snapshot is None else self.snapshot
            return
        assert self._process.stdout is not None  # noqa: S101  # it was started with a pipe
        if not self._process.stdout.closed:
            with self._process.stdout as said:
                newest = said.readline().strip()
            self.snapshot = int(newest) if newest else None

    def close(self) -> None:
        """Let go; closing twice is harmless."""
        if self._process is None:
            return
        assert self._process.stdin is not None  # noqa: S101  # it was started with a pipe
        self.wait()
        self._process.stdin.close()
        self._process.wait()


def _newest(place: Place) -> int | None:
    """The newest snapshot of a lake; None where it cannot be read, of which readers say more."""
    with suppress(duckdb.Error):
        [(found,)] = engine.ask_catalog(place, "SELECT max(snapshot_id) FROM ducklake_snapshot")
        return None if found is None else int(found)
    return None
