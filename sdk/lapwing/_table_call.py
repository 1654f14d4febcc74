"""A call with a table, from its arguments to the columns of a batch: one prediction per row."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from lapwing import semconv
from lapwing._policy import weight_of
from lapwing._select import Selection
from lapwing._table import is_frame, table_kind

if TYPE_CHECKING:
    import pyarrow as pa

    from lapwing._redactor import RecordRedactor
    from lapwing._rows import Inputs


class Ids(Sequence[str]):
    """Ids of a batch's predictions, turned into texts only where they are looked at."""

    def __init__(self, ids: "pa.Array") -> None:
        """Wrap an array of texts."""
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        found: str | list[str]
        found = self._ids[index].to_pylist() if isinstance(index, slice) else self._ids[index].as_py()
        return found


class TableCall:
    """What is remembered of a call with a table while it runs. pyarrow is loaded when it is sure to be one.

    Whether a list of mappings is a table, or one prediction's input such as the messages of a chat, shows
    only in the result: it has an item per row, or it has not.
    """

    def __init__(
        self,
        arguments: Mapping[str, Any],
        selection: Selection,
        *,
        columns: Sequence[str] | None = None,
        classes: Sequence[object] | None = None,
        id_column: str | None = None,
        redaction: "RecordRedactor | None" = None,
    ) -> None:
        """Copy the arguments: the function may change what it was given.

        Args:
            arguments: By name; one is a table.
            selection: The columns to record.
            columns: Names of an array's columns.
            classes: Names of the columns of a result that has a probability per class.
            id_column: The table's column, or another argument, that holds the predictions' ids.
            redaction: Takes out what must not leave.
        """
        self._redaction = redaction
        self._is_redacted = False
        self._selection = selection
        self._columns = columns
        self._classes = classes
        self._id_column = id_column
        self._inputs: Inputs | None = None
        self._ids: pa.Array | None = None
        self._fallback: pa.Array | None = None
        self._is_frame = any(is_frame(value) for value in arguments.values())
        if any(table_kind(value) not in ("list", None) for value in arguments.values()):
            self._copy(arguments)
        else:
            self._arguments = {
                name: [dict(row) for row in value] if table_kind(value) else value
                for name, value in arguments.items()
            }

    def outcome(
        self, result: Any, selection: Selection, fallback_field: str | None = None
    ) -> "pa.StructArray | None":
        """Give the output's columns; None where the result has not an item per row: it was no table then.

        Args:
            result: What the function returned.
            selection: The columns to record.
            fallback_field: The column that says whether an answer is a default, recorded or not.
        """
        from lapwing._rows import copy_output  # noqa: PLC0415  # brings pyarrow, only for tables

        if type(result) is tuple:
            result = list(result)
        if self._inputs is None:
            rows = next(len(value) for value in self._arguments.values() if table_kind(value))
            if not hasattr(result, "__len__") or len(result) != rows or isinstance(result, (str, Mapping)):
                return None
            self._copy(self._arguments)
        if fallback_field is not None:
            said = copy_output(result, self.rows, Selection(include=frozenset([fallback_field])).names)
            self._fallback = said and said.field(0)
        if self._classes is None:
            return copy_output(result, self.rows, selection.names)
        output = copy_output(result, self.rows, classes=self._classes)
        return None if output is None else _with_score(output, selection)

    @property
    def is_certain(self) -> bool:
        """Whether the table is one, whatever the result: an array may be an image."""
        return self._is_frame or (self._classes is not None and self._inputs is not None)

    @property
    def rows(self) -> int:
        """Rows of the table, known where it is certain."""
        return 0 if self._inputs is None else self._inputs.rows

    def as_values(self) -> dict[str, Any]:
        """Give the inputs as those of one prediction: a table that is certain has a list per column."""
        if self._inputs is None:
            return self._selection.apply(self._arguments)
        struct = self._inputs.columns
        if struct is None:
            return {}
        return {field.name: struct.field(field.name).to_pylist() for field in struct.type}

    def streams(
        self,
        output: "pa.StructArray | None",
        *,
        time: int,
        rate: float,
        identity: str | None,
    ) -> "tuple[Ids, Iterator[tuple[int, bytes]]]":
        """Write the batch.

        Args:
            output: From `outcome`; None where the call failed.
            time: Event time in nanoseconds since the epoch, for the ids.
            rate: Share of the rows to record.
            identity: The request's id, which then decides for all rows whether they are recorded.

        Returns:
            The ids of all rows, and Arrow IPC streams, each with its number of rows.
        """
        from lapwing._arrow import pa, pc  # noqa: PLC0415  # only for tables
        from lapwing._rows import new_prediction_ids, streams  # noqa: PLC0415

        ids = new_prediction_ids(time, self.rows)
        if self._ids is not None:
            ids = pc.coalesce(self._ids, ids)
        columns: dict[str, pa.Array | None] = {
            **_redacted("", {"prediction_id": ids}, self._redaction),
            semconv.BODY_INPUTS: _redacted_struct(
                semconv.BODY_INPUTS,
                self._inputs and self._inputs.columns,
                None if self._is_redacted else self._redaction,
            ),
            semconv.BODY_OUTPUT: _redacted_struct(semconv.BODY_OUTPUT, output, self._redaction),
        }
        if self._fallback is not None:
            columns["fallback"] = self._fallback.cast(pa.bool_())
        if rate < 1.0:
            weights = [weight_of(identity or each, rate) for each in ids.to_pylist()]
            kept = pa.array([weight > 0 for weight in weights], pa.bool_())
            columns["weight"] = pa.array(weights, pa.float64())
            columns = {
                name: None if values is None else values.filter(kept) for name, values in columns.items()
            }
        return Ids(ids), streams(columns)

    def _copy(self, arguments: Mapping[str, Any]) -> None:
        from lapwing._rows import copy_inputs  # noqa: PLC0415  # brings pyarrow, only for tables

        given = arguments
        if self._redaction is not None and self._is_list(arguments):
            given = self._redacted_rows(arguments, self._redaction)
            self._is_redacted = True
        self._inputs = copy_inputs(given, self._columns, self._selection.names)
        if self._id_column is not None:
            only_ids = Selection(include=frozenset([self._id_column]))
            found = copy_inputs(arguments, self._columns, only_ids.names)
            if found is not None and found.columns is not None:
                self._ids = found.columns.field(0).cast("string")

    @staticmethod
    def _is_list(arguments: Mapping[str, Any]) -> bool:
        kinds = [table_kind(value) for value in arguments.values()]
        return next(kind for kind in kinds if kind) == "list"

    @staticmethod
    def _redacted_rows(arguments: Mapping[str, Any], redaction: "RecordRedactor") -> dict[str, Any]:
        """Redact rows while they are what the user made: as columns, what is mixed would be text."""
        rows = {name: value for name, value in arguments.items() if table_kind(value) == "list"}
        others = {name: value for name, value in arguments.items() if name not in rows}
        return {
            **{
                name: [redaction.fields(semconv.BODY_INPUTS, row) for row in value]
                for name, value in rows.items()
            },
            **redaction.fields(semconv.BODY_INPUTS, others),
        }


def _with_score(output: "pa.StructArray", selection: Selection) -> "pa.StructArray | None":
    """Add the probability of the positive class, the second of two."""
    from lapwing._arrow import pa  # noqa: PLC0415  # only for tables

    columns = {field.name: output.field(field.name) for field in output.type}
    scores = columns.get("scores")
    if scores is not None and pa.types.is_struct(scores.type) and scores.type.num_fields == 2:
        columns["score"] = scores.field(1)
    chosen = selection.apply(columns)
    return pa.StructArray.from_arrays(list(chosen.values()), names=list(chosen)) if chosen else None


def _redacted(
    section: str, columns: "Mapping[str, pa.Array]", redaction: "RecordRedactor | None"
) -> "Mapping[str, pa.Array]":
    return columns if redaction is None else redaction.table(section, columns)


def _redacted_struct(
    section: str, struct: "pa.StructArray | None", redaction: "RecordRedactor | None"
) -> "pa.StructArray | None":
    if struct is None or redaction is None:
        return struct
    from lapwing._arrow import pa  # noqa: PLC0415  # only for tables

    columns = redaction.table(section, {field.name: struct.field(field.name) for field in struct.type})
    return pa.StructArray.from_arrays(list(columns.values()), names=list(columns)) if columns else None
