"""The books: what became of every row that was received, so that the sums can be held against each other."""

import threading
from dataclasses import dataclass, field, fields, replace


@dataclass(slots=True)
class Accounts:
    """Rows since the start: `received = stored + deduplicated + rejected + dead_lettered + waiting`.

    Attributes:
        received: Rows that came, those read back from the log after a start included.
        stored: Rows that are in the lake.
        deduplicated: Rows that were there already.
        rejected: Rows that can not be stored, of which their sender was told.
        dead_lettered: Rows that were acknowledged and could not be written; they are kept as files.
    """

    received: int = 0
    stored: int = 0
    deduplicated: int = 0
    rejected: int = 0
    dead_lettered: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, **rows: int) -> None:
        """Book rows under the names of this class."""
        with self._lock:
            for name, count in rows.items():
                setattr(self, name, getattr(self, name) + count)

    def read(self) -> "Accounts":
        """A copy in which the numbers belong together."""
        with self._lock:
            return replace(self, _lock=threading.Lock())

    def as_dict(self) -> dict[str, int]:
        """The accounts by name, and what is waiting."""
        books = self.read()
        return {name: getattr(books, name) for name in (*NAMES, "waiting")}

    @property
    def waiting(self) -> int:
        """Rows that are durable in the log and not in the lake yet."""
        settled = self.stored + self.deduplicated + self.rejected + self.dead_lettered
        return self.received - settled


NAMES = tuple(each.name for each in fields(Accounts) if not each.name.startswith("_"))
"""The accounts, in their order."""
