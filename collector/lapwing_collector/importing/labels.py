"""Which columns of a file are labels and what they belong to, and its rows as a batch of labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from lapwing_collector.errors import ConfigError
from lapwing_collector.importing.cells import ROW_TIME, Kind, filled, kind_inside, texts, times
from lapwing_collector.importing.nesting import nested
from lapwing_collector.importing.rows import Part, Reject
from lapwing_collector.importing.source import Chunk
from lapwing_collector.importing.usual import LABEL_TIMES, LABELS, PREDICTION_IDS, PREDICTION_TIMES

_IDS: Final = {"prediction_id": PREDICTION_IDS, "request_id": ("request_id",)}

Found = Sequence[tuple[str, datetime]]
"""Id and time of each prediction that has a key."""


@dataclass(frozen=True, slots=True)
class _Moments:
    """Times of some rows, and which rows hold something else."""

    times: pa.Array
    wrong: Sequence[bool]


@dataclass(frozen=True, slots=True)
class Key:
    """What a file's rows name predictions by.

    Attributes:
        on: `prediction_id`, `request_id`, or a field of predictions: `tags.order`, `inputs.flight`.
        column: The file's column that holds it.
    """

    on: str
    column: str

    @property
    def is_id(self) -> bool:
        """Whether labels can carry it as it is."""
        return self.on in _IDS


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """Which columns are what.

    Attributes:
        key: What predictions are named by.
        label: The column of labels; or columns `label.x`, the fields of labels.
        time: When the truth became known.
        prediction_time: When the prediction was made.
        source: Where the truth comes from.
    """

    key: Key
    label: tuple[str, ...]
    time: str | None
    prediction_time: str | None
    source: str | None

    @property
    def typed(self) -> list[str]:
        """Columns whose values are more than text."""
        return list(self.label)

    def kinds(self, known: pa.DataType | None) -> dict[str, Kind | None]:
        """What values of the columns of labels were so far, None if none were.

        Args:
            known: The type of the model's labels, if it has any.

        Raises:
            ConfigError: They are fields there and one value here, or the other way about.
        """
        has_fields = self.label[0].startswith("label.")
        if known is None or pa.types.is_null(known):
            return dict.fromkeys(self.label)
        if pa.types.is_struct(known) and not has_fields:
            names = ", ".join(f"label.{known.field(place).name}" for place in range(known.num_fields))
            raise ConfigError(
                f"labels of this model have fields, and {self.label[0]} is one value: call columns {names}"
            )
        if has_fields and not pa.types.is_struct(known):
            raise ConfigError(
                f"labels of this model are one value, and {', '.join(self.label)} are fields: "
                "name one with --label"
            )
        return {name: kind_inside(known, name.split(".")[1:]) for name in self.label}

    def part(self, chunk: Chunk, find: Callable[[list[str]], Mapping[str, Found]]) -> Part:
        """The labels of some rows.

        Args:
            chunk: The rows.
            find: Tells which predictions have these keys.
        """
        labels = self._labels(chunk)
        moments = self._moments(chunk, self.time)
        made = self._moments(chunk, self.prediction_time)
        keys = texts(chunk.columns[self.key.column]).to_pylist()
        found = find(list({key for key in keys if key}))
        taken: list[int] = []
        named: list[tuple[str, datetime | None]] = []
        rejected = list(chunk.rejected)
        for row, line in enumerate(chunk.lines):
            key = keys[row]
            reason = (
                self._problem(key, found)
                or chunk.odd.get(row)
                or (
                    f"has no {self.label[0]}"
                    if not labels[row].is_valid
                    else f"{self.time} is no time"
                    if moments.wrong[row]
                    else f"{self.prediction_time} is no time"
                    if made.wrong[row]
                    else None
                )
            )
            if reason is not None:
                rejected.append(Reject(line, reason))
                continue
            matches = self._matches(str(key), made.times[row].as_py(), found.get(str(key), ()))
            taken += [row] * len(matches)
            named += matches
        places = pa.array(taken, pa.int64())
        columns = {
            "request_id" if self.key.on == "request_id" else "prediction_id": pa.array(
                [prediction_id for prediction_id, _ in named], pa.string()
            ),
            "label": labels.take(places),
            "prediction_time": pa.array([moment for _, moment in named], ROW_TIME),
        }
        if self.time is not None:
            columns["time"] = moments.times.take(places)
        if self.source is not None:
            columns["source"] = chunk.columns[self.source].cast(pa.string()).take(places)
        return Part(columns, len(taken), sorted(rejected, key=lambda reject: reject.line))

    def _problem(self, key: str | None, found: Mapping[str, Found]) -> str | None:
        if not key:
            return f"has no {self.key.column}"
        if not self.key.is_id and key not in found:
            return f"no prediction has {self.key.on} = {key}"
        return None

    def _matches(
        self, key: str, said: datetime | None, found: Found
    ) -> Sequence[tuple[str, datetime | None]]:
        """The predictions that a row is about, each with its time where that is known."""
        if not self.key.is_id:
            return found
        return [(key, found[0][1] if said is None and len(found) == 1 else said)]

    @staticmethod
    def _moments(chunk: Chunk, name: str | None) -> "_Moments":
        if name is None:
            return _Moments(pa.nulls(len(chunk.lines), ROW_TIME), [False] * len(chunk.lines))
        return _Moments(*times(chunk.columns[name]))

    def _labels(self, chunk: Chunk) -> pa.Array:
        """The labels; null where there is none, which tables of numbers often say by NaN."""
        if len(self.label) == 1 and not self.label[0].startswith("label."):
            return filled(chunk.columns[self.label[0]])
        fields = {name.removeprefix("label."): filled(chunk.columns[name]) for name in self.label}
        whole = nested(fields)
        some = reduce(pc.or_, (pc.is_valid(values) for values in fields.values()))
        return pc.if_else(some, whole, pa.scalar(None, whole.type))


def plan_labels(  # noqa: PLR0917  # each is an option of the command
    names: Sequence[str],
    on: str,
    key: str | None = None,
    label: str | None = None,
    time: str | None = None,
    prediction_time: str | None = None,
    source: str | None = None,
) -> LabelPlan:
    """Find out which columns are what.

    Args:
        names: The file's columns.
        on: What predictions are named by.
        key: The column that holds that; by default one of its name.
        label: The column of labels; by default `label`, `truth`, … or all of `label.*`.
        time: When the truth became known; by default `time`, …
        prediction_time: By default a column of that name.
        source: By default a column of that name.

    Raises:
        ConfigError: There is no such column.
    """
    field = on.partition(".")[2]
    if on not in _IDS and (on.partition(".")[0] not in {"tags", "inputs"} or not field):
        raise ConfigError(f"--on: expected prediction_id, request_id, tags.NAME or inputs.NAME, not {on!r}")
    fields = tuple(name for name in names if name.startswith("label."))
    one = column(names, label, LABELS, "--label") if label or not fields else None
    if one is None and not fields:
        raise ConfigError(f"there is no column of labels among {', '.join(names)}; name it with --label")
    held = column(names, key, _IDS.get(on, (on, field)), "--key")
    if held is None:
        raise ConfigError(f"there is no column for {on} among {', '.join(names)}; name it with --key")
    return LabelPlan(
        Key(on, held),
        fields if one is None else (one,),
        column(names, time, LABEL_TIMES, "--time"),
        column(names, prediction_time, PREDICTION_TIMES, "--prediction-time"),
        column(names, source, ("source",), "--source"),
    )


def column(names: Sequence[str], wanted: str | None, usual: Sequence[str], option: str) -> str | None:
    """The column that a person named, or one of the usual names; None if there is none.

    Raises:
        ConfigError: There is no column of the name that was given.
    """
    if wanted is not None and wanted not in names:
        raise ConfigError(f"{option}: there is no column {wanted!r}; the file has {', '.join(names)}")
    return wanted or next((name for name in usual if name in names), None)
