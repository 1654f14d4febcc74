"""The model that looks at nothing: what it would have predicted for the same rows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa

from lapwing_collector.app.gate.mounting import Mount
from lapwing_collector.app.gate.tabled import Brought
from lapwing_collector.engine import identifier, literal
from lapwing_collector.errors import ConfigError, QueryError
from lapwing_collector.model.description import ModelDescription, Task, parts

_S: Final = 60.0


def dummy_of(rows: Brought, told: ModelDescription, table: str, truths: Mount) -> Brought:
    """The same rows, as a dummy model predicts them: by the shares of classes, or the mean.

    Args:
        rows: What it is asked for.
        told: What is known of the model, what is inferred included.
        table: What the model's tables are called.
        truths: Whose truths it has learned from.

    Raises:
        ConfigError: There is no such model for the task, or no truth to learn from.
    """
    match told.task:
        case Task.CLASSIFICATION:
            predicted = _classes(told, _shares(table, truths), rows)
        case Task.REGRESSION:
            predicted = {told.prediction: _mean(told, table, truths)}
        case _:
            raise ConfigError("a dummy model is there for classification and regression")
    flat = rows.predictions
    for name, value in predicted.items():
        if name is None or name not in flat.column_names:
            continue
        at = flat.schema.get_field_index(name)
        flat = flat.set_column(at, name, pa.repeat(_scalar(value, flat.schema.field(at).type), rows.rows))
    return replace(rows, predictions=flat)


def _shares(table: str, truths: Mount) -> dict[str, float]:
    sql = (
        f"SELECT class, value FROM class_balance({literal(table)}, $since, $until) "
        "WHERE source = 'truth' AND value > 0 ORDER BY class"
    )
    try:
        found = truths.ask(sql, {"since": truths.since, "until": truths.until}, _S).to_pylist()
    except QueryError as error:
        raise ConfigError(f"a dummy model learns from truths: {error}") from error
    if not found:
        raise ConfigError("a dummy model learns from truths, and there are none")
    return {row["class"]: row["value"] for row in found}


def _classes(told: ModelDescription, shares: Mapping[str, float], rows: Brought) -> dict[str | None, Any]:
    predicted: dict[str | None, Any] = {told.prediction: max(shares, key=lambda name: shares[name])}
    if told.score is not None:
        predicted[told.score] = shares.get(told.positive_class or "", 0.0)
    if told.scores is not None:
        predicted[told.scores] = list(shares.items())
        for name in rows.fields:
            if name.startswith(f"{told.scores}."):
                predicted[name] = shares.get(parts(name)[-1], 0.0)
    return predicted


def _mean(told: ModelDescription, table: str, truths: Mount) -> float:
    label = ".".join(identifier(part) for part in parts(told.label or "label"))
    sql = (
        f"SELECT avg({label}::DOUBLE) AS mean FROM labeled.{identifier(table)} "
        "WHERE time >= $since AND time < $until"
    )
    try:
        mean = truths.ask(sql, {"since": truths.since, "until": truths.until}, _S).column(0)[0].as_py()
    except QueryError as error:
        raise ConfigError(f"a dummy model learns from truths: {error}") from error
    if mean is None:
        raise ConfigError("a dummy model learns from truths, and there are none")
    return float(mean)


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    if isinstance(value, str) and not pa.types.is_string(kind):
        return pa.scalar(value).cast(kind)
    return pa.scalar(value, kind)
