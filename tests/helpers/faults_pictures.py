"""Pictures of a state database as a process leaves it behind that dies at any moment."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event


@dataclass(frozen=True)
class Picture:
    """What the files of a database are at a moment; what shares memory with other processes dies with them.

    Attributes:
        moment: Between which statements it was taken, for people.
        database: The file itself.
        log: Its write-ahead log.
    """

    moment: str
    database: bytes
    log: bytes

    def restore(self, path: Path) -> None:
        """Put it where a new process finds it, in place of what is there."""
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        path.write_bytes(self.database)
        _log(path).write_bytes(self.log)


class Photographer:
    """Takes a picture before each statement and each commit, and some of a commit that was half written."""

    def __init__(self, path: Path, seen: Callable[[Picture], None], dice: random.Random) -> None:
        """Watch the database at `path`; `seen` is called with each picture, before the statement goes on."""
        self._path = path
        self._seen = seen
        self._dice = dice
        self._logged = len(_log(path).read_bytes())
        self._busy = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take pictures within this block."""
        listeners = [("before_cursor_execute", self._before_statement), ("commit", self._before_commit)]
        for name, listener in listeners:
            event.listen(Engine, name, listener)
        try:
            yield
        finally:
            for name, listener in listeners:
                event.remove(Engine, name, listener)

    def take(self, moment: str) -> None:
        """Take a picture now, and of the last commit as if it had been cut off."""
        if self._busy:
            return
        self._busy = True
        try:
            database, log = self._path.read_bytes(), _log(self._path).read_bytes()
            self._seen(Picture(moment, database, log))
            if len(log) > self._logged:
                for _ in range(2):
                    cut = self._dice.randrange(self._logged, len(log))
                    self._seen(Picture(f"{moment}, the log cut off at byte {cut}", database, log[:cut]))
            self._logged = len(log)
        finally:
            self._busy = False

    def _before_statement(self, connection: Any, _cursor: object, statement: str, *_: object) -> None:
        if connection.engine.url.database == str(self._path):
            self.take(f"before {statement.split(maxsplit=3)[:3]}")

    def _before_commit(self, connection: Any) -> None:
        if connection.engine.url.database == str(self._path):
            self.take("before COMMIT")


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
