"""The duty that keeps the descriptions of models: from files, from what processes said, from their rows.

It follows the lake: files that joined a table say that there is something to look at. What a description is
made of stands beside it in the lake, so that nothing depends on the duty having run when rows came.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

import pyarrow as pa

from lapwing import semconv
from lapwing_collector.app.background.pacing import Pacing, StoppedError
from lapwing_collector.lake import Lake
from lapwing_collector.lake.files import Newcomers, TableName
from lapwing_collector.lake.samples import logged, newest_rows
from lapwing_collector.lake.statements import statement
from lapwing_collector.metrics import facts_of
from lapwing_collector.model.description import ModelDescription, Source, dotted, infer, merged
from lapwing_collector.model.facts import Facts
from lapwing_collector.model.said import said

_Kept = TypeVar("_Kept")

logger = logging.getLogger(__name__)

_TICK_S: Final = 1.0
_RETRY_S: Final = 30.0
_SHARE: Final = 0.1
"""How much of the time the duty may work while there is much to describe."""

_AT_ONCE: Final = 100
"""Models described in one commit."""

_SAMPLE_ROWS: Final = 10_000
_FIRST_LOOK_ROWS: Final = 100
_GROWTH: Final = 4
"""Values are looked at again when there are so many times more rows than when they were last."""

_LONGEST_SAID: Final = 1 << 20
"""Characters of what a process says of a model; thousands of features take less."""

_PREDICTION_COLUMNS: Final = ("prediction_id", "time", "inputs", "output")
_LABEL_COLUMNS: Final = ("prediction_id", "prediction_time", "time", "label")
_LOGS: Final = TableName("main", "logs")

_NEVER: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # naive UTC, as all of the lake's times

_ROWS: Final = pa.schema(
    [
        ("model", pa.string()),
        ("table_name", pa.string()),
        ("described_at", pa.timestamp("us")),
        ("description", pa.string()),
        ("said", pa.string()),
        ("facts", pa.string()),
        ("logs_seen", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class _Said:
    """What the newest process said of a model; records of one process add to each other."""

    process: str | None
    time: str
    body: Mapping[str, Any]

    def to_json(self) -> str:
        return json.dumps({"process": self.process, "time": self.time, "body": self.body}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "_Said":
        return cls(**json.loads(text))

    def over(self, other: "_Said | None") -> "_Said":
        """The newer of two, with what its own process said before."""
        if other is None:
            return self
        older, newer = sorted((other, self), key=lambda each: each.time)
        together = newer.process is not None and newer.process == older.process
        return replace(newer, body={**older.body, **newer.body}) if together else newer


@dataclass(slots=True)
class _Known:
    """What is remembered of a model.

    Attributes:
        description: The one that the lake has, as text; None if it has none.
        said: What a process said of it.
        kept: What of that makes sense and is in the lake.
        facts: What its values showed.
        shapes: What tells the shapes of its tables that the description was made of from others.
        stale: Whether it has to be made anew, whatever the shapes are.
    """

    description: str | None = None
    said: _Said | None = None
    kept: ModelDescription = field(default_factory=ModelDescription)
    facts: Facts | None = None
    shapes: tuple[int, ...] = ()
    stale: bool = True


class Describing:
    """Describes the models of one lake, until closed."""

    def __init__(
        self,
        lake: Lake,
        files: Mapping[str, ModelDescription],
        *,
        now: Callable[[], datetime],
        declare: Callable[[], None] = lambda: None,
        busy: Callable[[], bool] = lambda: False,
        is_mine: Callable[[], bool] = lambda: True,
    ) -> None:
        """Wire the parts.

        Args:
            lake: Whose models; written through its one writer.
            files: What files say, by model.
            now: The wall clock.
            declare: Called once: has the lake know what else files declare.
            busy: Whether rows wait to be written, so that describing had better wait.
            is_mine: Whether it is this process that does so, of all that share the lake.
        """
        self._is_mine = is_mine
        self._lake = lake
        self._files = files
        self._now = now
        self._declare = declare
        self._newcomers = Newcomers(lake.catalog)
        self._pacing = Pacing(_SHARE, busy)
        self._known: dict[str, _Known] = {}
        self._rows: dict[TableName, int] = {}
        self._queue: dict[str, None] = {}
        self._heard: set[str] = set()
        self._logs_seen = -1
        self._logs_served = -1
        self._described_at = _NEVER
        self._loaded = False
        self._changes = -1
        self._unheard = False
        self._thread = threading.Thread(target=self._run, name="lapwing-describing", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Stop; tells whether that was in time. What is left undone is done after the next start."""
        self._pacing.stop()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def work(self) -> bool:
        """Describe some of the models of which there is news; False once none is left.

        Raises:
            OSError: The disk is full, or refuses.
            duckdb.Error: The catalog refuses.
        """
        if not self._loaded:
            self._declare()
            self._load()
        changes = self._lake.changes
        if changes != self._changes:  # a quiet lake is not asked every second
            self._look()
            self._changes = changes
        models = list(self._queue)[:_AT_ONCE]
        if models:
            self._describe(models)
        for model in models:
            del self._queue[model]
        return bool(self._queue)

    def _run(self) -> None:
        while self._pacing.rest(_TICK_S):
            try:
                more = self._is_mine()
                self._loaded &= more  # another one describes them now
                while more:
                    started = time.monotonic()
                    more = self.work()
                    self._pacing.pause(time.monotonic() - started)
            except StoppedError:
                return
            except Exception:
                # The queue has the models still, and rows are received and queried all the same.
                logger.exception(
                    "describing models failed; it is tried again", extra={"action": "describe_failed"}
                )
                if not self._pacing.rest(_RETRY_S):
                    return

    def _load(self) -> None:
        """Remember what the lake has; every model of it is looked at once."""
        for model, at, text, spoken, facts, seen in self._lake.catalog.rows(statement("descriptions")):
            before = _read(_Said.from_json, spoken)
            self._known[model] = _Known(
                description=text,
                said=before,
                kept=_meant(before),
                facts=_read(Facts.from_json, facts),
            )
            self._described_at = max(self._described_at, at)
            self._logs_seen = self._logs_served = max(self._logs_seen, seen)
        self._loaded = True

    def _look(self) -> None:
        """Queue the models whose tables have new files, and those that a process said something of."""
        touched: set[str] = set()
        for file in self._newcomers.look():
            self._rows[file.table] = self._rows.get(file.table, 0) + file.rows
            if file.table == _LOGS:
                self._unheard = True
            elif file.table.schema != "main":
                touched.add(file.table.name)
        if touched:
            models = {table: model for model, table in self._lake.table_names.items()}
            self._queue |= dict.fromkeys(models[table] for table in touched if table in models)
        if self._unheard:
            self._logs_seen, records = logged(self._lake.catalog, semconv.EVENT_MODEL, self._logs_seen)
            news = self._hear(records)
            self._queue |= dict.fromkeys(news)
            self._heard |= set(news)
            self._unheard = False

    def _hear(self, records: Iterable[Mapping[str, Any]]) -> list[str]:
        """Take in what processes said; the models of which that is news."""
        news = []
        for record in records:
            if len(record["body"] or "") > _LONGEST_SAID:
                continue
            model = json.loads(record["attributes"] or "{}").get(semconv.MODEL_NAME)
            body = json.loads(record["body"] or "null")
            if not isinstance(model, str) or not 1 <= len(model) <= 128 or not isinstance(body, dict):
                continue
            process = json.loads(record["resource"] or "{}").get("attributes", {}).get(semconv.PROCESS_ID)
            known = self._known.setdefault(model, _Known())
            spoken = _Said(process, record["time"].isoformat(timespec="microseconds"), body).over(known.said)
            if known.said is None or spoken.body != known.said.body:
                known.stale = True
                news.append(model)
            known.said = spoken
        return news

    def _describe(self, models: Collection[str]) -> None:
        """Make the descriptions anew, and keep those that changed in one commit."""
        unheard = self._heard.difference(models)
        # The records of a model that a later commit serves are read again after a crash in between.
        logs_served = self._logs_served if unheard else self._logs_seen
        tables = self._lake.table_names
        keys = {
            model: [TableName("predictions_all", tables[model]), TableName("labels", tables[model])]
            for model in models
            if model in tables
        }
        shapes = self._lake.shapes([key for pair in keys.values() for key in pair])
        made: list[tuple[_Known, str, Facts | None, tuple[int, ...]]] = []
        rows = []
        for model in models:
            known = self._known.setdefault(model, _Known())
            own = keys.get(model, [])  # none of a model that a process only spoke of
            mine = [shapes.get(key, {}) for key in own]
            if not (known.stale or self._is_due(known, own) or known.shapes != _digests(mine)):
                continue
            text, facts = self._description(model, known, own, mine)
            made.append((known, text, facts, _digests(mine)))
            # What a file overrides today counts once the file is gone, and is not said again.
            if text != known.description or _meant(known.said) != known.kept:
                rows.append(
                    {
                        "model": model,
                        "table_name": tables.get(model),
                        "description": text,
                        "said": None if known.said is None else known.said.to_json(),
                        "facts": None if facts is None else facts.to_json(),
                        "logs_seen": logs_served,
                    }
                )
        if rows:
            self._described_at = max(self._now(), self._described_at + timedelta(microseconds=1))
            stamped = [{**row, "described_at": self._described_at} for row in rows]
            self._lake.add_rows({"model_descriptions": pa.Table.from_pylist(stamped, schema=_ROWS)})
        for known, text, facts, shape in made:  # only now: a commit that fails is tried again
            known.description, known.facts, known.shapes, known.stale = text, facts, shape, False
            known.kept = _meant(known.said)
        self._heard, self._logs_served = unheard, logs_served

    def _description(
        self,
        model: str,
        known: _Known,
        tables: list[TableName],
        shapes: list[Mapping[str, pa.DataType]],
    ) -> tuple[str, Facts | None]:
        """A model's description as text, and what its values show."""
        declared = {
            Source.FILE: self._files.get(model, ModelDescription()),
            Source.SDK: _meant(known.said),
        }
        predictions, labels = [_fields(shape) for shape in shapes] if shapes else ({}, {})
        told = merged(declared)
        facts = known.facts
        if self._is_due(known, tables):
            guess = merged({Source.FILE: told, Source.INFERRED: infer(predictions, labels, told)})
            facts = self._facts(guess, tables)
        inferred = infer(predictions, labels, told, facts) if shapes else ModelDescription()
        return merged({**declared, Source.INFERRED: inferred}).to_json(), facts

    def _is_due(self, known: _Known, tables: list[TableName]) -> bool:
        """Whether there are so many more rows that looking at values again is worth it."""
        if not tables:
            return False
        facts = known.facts or Facts()
        looked = dict(zip(tables, (facts.predictions, facts.labels), strict=True))
        return any(
            self._rows.get(table, 0) >= max(_FIRST_LOOK_ROWS, _GROWTH * before)
            for table, before in looked.items()
        )

    def _facts(self, guess: ModelDescription, tables: list[TableName]) -> Facts:
        predictions, labels = tables
        catalog = self._lake.catalog
        return facts_of(
            newest_rows(catalog, predictions, _PREDICTION_COLUMNS, _SAMPLE_ROWS),
            newest_rows(catalog, labels, _LABEL_COLUMNS, _SAMPLE_ROWS),
            classes_of={name for name in (guess.prediction, guess.score, guess.label) if name is not None},
            predictions_stored=self._rows.get(predictions, 0),
            labels_stored=self._rows.get(labels, 0),
        )


def _read(read: Callable[[str], _Kept], text: str | None) -> _Kept | None:
    """What the lake keeps of a model; None where another version of Lapwing wrote something else."""
    try:
        return None if text is None else read(text)
    except (TypeError, ValueError):
        return None


def _meant(spoken: _Said | None) -> ModelDescription:
    return ModelDescription() if spoken is None else said(spoken.body)


def _digests(shapes: Iterable[Mapping[str, pa.DataType]]) -> tuple[int, ...]:
    """What tells shapes apart: they themselves would take kilobytes a model."""
    return tuple(hash(tuple(shape.items())) for shape in shapes)


def _fields(shape: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
    """Types of the fields inside columns, by dotted name."""
    found: dict[str, pa.DataType] = {}

    def walk(path: tuple[str, ...], kind: pa.DataType) -> None:
        if pa.types.is_struct(kind):
            for inner in kind:
                walk((*path, inner.name), inner.type)
        else:
            found[dotted(path)] = kind

    for root, kind in shape.items():
        walk((root,), kind)
    return found
