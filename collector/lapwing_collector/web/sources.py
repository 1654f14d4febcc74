"""What pages are made of: rows of the lake, documents of the API, and the time."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

import pyarrow as pa

from lapwing_collector.engine import identifier
from lapwing_collector.model.description import ModelDescription
from lapwing_collector.web.reads import Read

Write = Callable[[Mapping[str, str]], str]
"""Gives a page that stands for itself, as HTML, for the parameters of its address; `since` and `until` are
its range of time as ISO 8601. It may block. LapwingErrors are told."""

_MODELS: Final = """
SELECT model, table_name, list({'version': version, 'first_seen': first_seen}) AS versions
FROM models GROUP BY ALL ORDER BY ALL
"""
_DESCRIBED: Final = """
SELECT table_name, arg_max(description::VARCHAR, described_at) AS description FROM model_descriptions
WHERE list_contains($tables, table_name) GROUP BY ALL
"""
_LABELLED: Final = "SELECT label FROM labeled.{table} LIMIT 0"
"""The type of labels: before the first one that of NULL, which no label has. To list tables takes ten times
as long."""
_FRESH_S: Final = 0.25
"""Parts of a page that are asked for together are told the same."""


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
        standalone: Pages that stand for themselves, of other rooms, by their address.
        picture: Gives a chart of a report, as JSON has it, as SVG.
        firing: How many alerts fire, for the head of every page; None while nobody knows.
        endpoint: Where predictions are sent to, as a URL.
        version: Lapwing's.
    """

    rows: RowsOf
    reads: Mapping[str, Read]
    standalone: Mapping[str, Write]
    picture: Callable[[Mapping[str, Any]], str]
    now: Callable[[], datetime]
    firing: Callable[[], int | None]
    endpoint: Callable[[], str]
    version: str


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that there is.

    Attributes:
        name: As people call it.
        table: The name of its tables.
        versions: Each with the event time of its first prediction, the newest last.
    """

    name: str
    table: str
    versions: tuple[tuple[str, datetime], ...]


@dataclass(slots=True)
class Models:
    """The models that there are; asked for again once something is new, or a moment has passed.

    Attributes:
        rows: Answers SQL over the lake.
        news: How far it has been told what is new; what others write is told a moment later.
        monotonic_s: Seconds that pass whatever is done to the wall clock.
    """

    rows: RowsOf
    news: Callable[[], str]
    monotonic_s: Callable[[], float] = time.monotonic
    _known: Mapping[str, KnownModel] = field(default_factory=dict)
    _as_of: tuple[str, float] | None = None
    _asking: threading.Lock = field(default_factory=threading.Lock)
    _labelled: set[str] = field(default_factory=set)

    def all(self) -> Mapping[str, KnownModel]:
        """Each of them by name, in order.

        Raises:
            LapwingError: The lake cannot be asked.
        """
        with self._asking:
            news, now_s = self.news(), self.monotonic_s()  # by then: more may come while the lake is asked
            if self._as_of is None or self._as_of[0] != news or now_s >= self._as_of[1] + _FRESH_S:
                self._known = {row["model"]: _known(row) for row in self.rows(_MODELS).to_pylist()}
                self._as_of = news, now_s
            return self._known

    def named(self, model: str) -> KnownModel | None:
        """The model of a name; None where there is none.

        Raises:
            LapwingError: The lake cannot be asked.
        """
        return self.all().get(model)

    def table(self, model: str) -> str | None:
        """The name of the tables of a model, which never changes once there is one.

        Raises:
            LapwingError: The lake cannot be asked.
        """
        known = self._known.get(model) or self.named(model)
        return None if known is None else known.table

    def has_labels(self, table: str) -> bool:
        """Whether a label has come of the model with these tables; once one has, that stays so.

        Raises:
            LapwingError: The lake cannot be asked.
        """
        if table not in self._labelled:
            labels = self.rows(_LABELLED.format(table=identifier(table))).schema.field("label")
            if not pa.types.is_int32(labels.type):
                self._labelled.add(table)
        return table in self._labelled

    def descriptions(self, tables: Sequence[str]) -> dict[str, ModelDescription]:
        """What is known of the models with these tables, by table; nothing where nothing is told yet.

        Raises:
            LapwingError: The lake cannot be asked.
        """
        rows = self.rows(_DESCRIBED, tables=list(tables)).to_pylist()
        told = {row["table_name"]: ModelDescription.from_json(row["description"]) for row in rows}
        return {table: told.get(table, ModelDescription()) for table in tables}


def _known(row: Mapping[str, Any]) -> KnownModel:
    versions = sorted(((each["version"] or "", each["first_seen"]) for each in row["versions"]), key=_when)
    return KnownModel(row["model"], row["table_name"], tuple(versions))


def _when(version: tuple[str, datetime | None]) -> tuple[datetime, str]:
    return version[1] or datetime.min, version[0]  # noqa: DTZ901  # only to sort by
