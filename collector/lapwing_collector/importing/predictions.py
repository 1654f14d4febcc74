"""Which columns of a file are inputs, outputs and facts about predictions; its rows as a batch of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from lapwing_collector.errors import ConfigError
from lapwing_collector.importing.cells import ROW_TIME, Kind, kind_inside, texts, times
from lapwing_collector.importing.labels import column
from lapwing_collector.importing.nesting import nested
from lapwing_collector.importing.rows import Part, Reject
from lapwing_collector.importing.source import Chunk
from lapwing_collector.importing.usual import LABELS, OUTPUTS, TIMES

_TEXTS: Final = frozenset(
    {"prediction_id", "version", "stage", "request_id", "variant", "upstream", "error_type", "error_message"}
)
_NUMBERS: Final = frozenset({"duration_ms", "weight"})
_STRUCTS: Final = ("inputs", "output", "tags")


@dataclass(frozen=True, slots=True)
class PredictionPlan:
    """Which columns are what.

    Attributes:
        time: When predictions were made.
        fields: Of `inputs`, `output` and `tags`: column by dotted name inside.
        facts: Columns that stand for themselves.
        key: The one of them with prediction ids.
        left_out: Columns that are labels.
    """

    time: str
    fields: Mapping[str, Mapping[str, str]]
    facts: tuple[str, ...]
    key: str | None
    left_out: tuple[str, ...]

    @property
    def typed(self) -> list[str]:
        """Columns whose values are more than text."""
        kinds = [*self.fields["inputs"].values(), *self.fields["output"].values()]
        return kinds + [name for name in self.facts if name in _NUMBERS | {"fallback"}]

    def kinds(self, known: Mapping[str, pa.DataType | None]) -> dict[str, Kind | None]:
        """What values of the columns with types were so far, None if none were.

        Args:
            known: The types of the model's `inputs` and `output`, if it has any.
        """
        kinds: dict[str, Kind | None] = {
            column: kind_inside(known.get(struct), name.split("."))
            for struct in ("inputs", "output")
            for name, column in self.fields[struct].items()
        }
        numbers = {name: Kind.NUMBER for name in self.facts if name in _NUMBERS}
        truths = {name: Kind.BOOL for name in self.facts if name == "fallback"}
        return kinds | numbers | truths

    def part(self, chunk: Chunk) -> Part:
        """The predictions of some rows."""
        moments, wrong = times(chunk.columns[self.time])
        rejected = list(chunk.rejected)
        taken = []
        for row, line in enumerate(chunk.lines):
            reason = (
                f"{self.time} is no time"
                if wrong[row]
                else chunk.odd.get(row)
                if moments[row].is_valid
                else f"has no {self.time}"
            )
            if reason is not None:
                rejected.append(Reject(line, reason))
            else:
                taken.append(row)
        places = pa.array(taken, pa.int64())
        columns: dict[str, pa.Array] = {"time": moments.cast(ROW_TIME)}
        for name in self.facts:
            values = chunk.columns[name]
            is_text = name == self.key or name in _TEXTS
            said = "prediction_id" if name == self.key else name
            columns[said] = texts(values) if is_text else values
        for struct, fields in self.fields.items():
            if list(fields.items()) == [("", struct)]:
                columns[struct] = chunk.columns[struct]
            elif fields:
                columns[struct] = nested({inside: chunk.columns[name] for inside, name in fields.items()})
        kept = {name: values.take(places) for name, values in columns.items()}
        return Part(kept, len(taken), sorted(rejected, key=lambda reject: reject.line))


def plan_predictions(
    names: Sequence[str], time: str | None = None, outputs: Sequence[str] = (), key: str | None = None
) -> PredictionPlan:
    """Find out which columns are what.

    Columns called `inputs.x`, `output.x` and `tags.x` are these fields; those called as a column
    of predictions are that; `prediction` and `score` are `output.value` and `output.score`, others inputs.

    Args:
        names: The file's columns.
        time: When predictions were made; by default `time`, `timestamp`, …
        outputs: Columns that are outputs, `x`, or under another name, `value=x`.
        key: The column with prediction ids; by default one of that name.

    Raises:
        ConfigError: There is no such column, or none of times.
    """
    held = column(names, time, TIMES, "--time")
    if held is None:
        raise ConfigError(
            f"no column says when predictions were made among {', '.join(names)}; name it with --time"
        )
    said = {name: ("output", inside) for inside, name in (_output(names, each) for each in outputs)}
    ids = column(names, key, ("prediction_id",), "--key")
    fields: dict[str, dict[str, str]] = {struct: {} for struct in _STRUCTS}
    for name in names:
        struct, inside = said.get(name) or _place(name)
        if struct in fields and name not in {held, ids}:
            fields[struct][inside] = name
    facts = [name for name in names if name == ids or (name != held and _place(name)[0] == "fact")]
    left_out = [name for name in names if name not in {held, ids, *said} and _place(name)[0] == "label"]
    return PredictionPlan(held, fields, tuple(facts), ids, tuple(left_out))


def _output(names: Sequence[str], said: str) -> tuple[str, str]:
    """The name of an output, and the column that a person named for it."""
    inside, equals, name = said.partition("=")
    name = name if equals else inside
    column(names, name, (), "--output")
    return inside, name


def _place(name: str) -> tuple[str, str]:
    """Where a column goes that nobody said anything of, and its name there."""
    struct, dot, inside = name.partition(".")
    if struct in _STRUCTS and (inside or not dot):
        return struct, inside
    if name in _TEXTS | _NUMBERS | {"fallback"}:
        return "fact", name
    if name in LABELS:
        return "label", name
    return ("output", OUTPUTS[name]) if name in OUTPUTS else ("inputs", name)
