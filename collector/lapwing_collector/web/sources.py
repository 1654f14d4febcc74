"""What pages are made of: rows of the lake, documents of the API, and the time."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

import pyarrow as pa

from lapwing_collector.web.reads import Read

_MODELS: Final = "SELECT DISTINCT model, table_name FROM models ORDER BY ALL"
_FRESH_S: Final = 2.0


class RowsOf(Protocol):
    """Answers a query with all its rows."""

    def __call__(self, sql: str, **parameters: Any) -> pa.Table:
        """Answer.

        Raises:
            LapwingError: The lake cannot be asked.
        """


@dataclass(frozen=True, slots=True)
class Sources:
    """What `app` hands to the dashboard.

    Attributes:
        rows: Answers SQL over the lake.
        reads: The documents of the API, by the pattern of their address: `alerts/{fingerprint}`.
        now: The time that ranges reach back from, naive UTC: the clock's, or in a replay that of the data.
        endpoint: Where predictions are sent to, as a URL.
        version: Lapwing's.
    """

    rows: RowsOf
    reads: Mapping[str, Read]
    now: Callable[[], datetime]
    endpoint: Callable[[], str]
    version: str


@dataclass(slots=True)
class Models:
    """The models that there are; asked for again when that was a moment ago."""

    rows: RowsOf
    _known: Mapping[str, str] = field(default_factory=dict)
    _until_s: float = 0.0
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def tables(self) -> Mapping[str, str]:
        """The name of each model's tables, by model, in order.

        Raises:
            LapwingError: The lake cannot be asked.
        """
        with self._asking:
            if time.monotonic() >= self._until_s:
                rows = self.rows(_MODELS)
                self._known = dict(zip(*(column.to_pylist() for column in rows.columns), strict=True))
                self._until_s = time.monotonic() + _FRESH_S
            return self._known

    def table_of(self, model: str) -> str | None:
        """The name of a model's tables; None where there is no such model.

        Raises:
            LapwingError: The lake cannot be asked.
        """
        known = self._known.get(model)  # it never changes
        return known if known is not None else self.tables().get(model)
