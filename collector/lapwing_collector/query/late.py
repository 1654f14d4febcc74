"""SQL that finds what late rows and labels touch, and what is stored of a metric's window."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from lapwing_collector.engine import identifier

_RECEIVED: Final = "received_at >= $received_from AND received_at < $received_to"

_OF_PREDICTIONS: Final = f"SELECT time FROM predictions_all.$table WHERE {_RECEIVED}"

# A label finds its prediction as in the view `labeled`: by time and id, by id alone, by request.
_OF_LABELED: Final = f"""
SELECT prediction_time AS time FROM labels.$table
WHERE {_RECEIVED} AND prediction_id IS NOT NULL AND prediction_time IS NOT NULL
UNION ALL
SELECT time FROM predictions_all.$table
WHERE time >= $first AND time < $before AND prediction_id IN (
    SELECT prediction_id FROM labels.$table WHERE {_RECEIVED} AND prediction_time IS NULL
)
UNION ALL
SELECT time FROM predictions_all.$table
WHERE time >= $first AND time < $before AND request_id IN (
    SELECT request_id FROM labels.$table WHERE {_RECEIVED} AND prediction_id IS NULL
)
"""

_OF_LABELS: Final = f"""
SELECT unnest([time, prediction_time]) AS time FROM labels.$table WHERE {_RECEIVED}
"""

# What is known of one prediction of a request counts where the others of that request are.
_PARTNERS: Final = """
SELECT time FROM predictions_all.$table
WHERE time >= $first AND time < $before AND request_id IN (SELECT request_id FROM ($touching))
"""

_NEAR: Final = "SELECT min(time) AS first, max(time) AS last FROM ($touching)"

_ASKED: Final = f"""
SELECT request_id, time FROM predictions_all.$table
WHERE {_RECEIVED} AND time >= $near_first AND time < $near_before AND request_id IS NOT NULL
"""

_ASKED_AND_LABELED: Final = f"""
SELECT p.request_id, p.time
FROM predictions_all.$table AS p
JOIN labels.$table AS l ON p.time = l.prediction_time AND p.prediction_id = l.prediction_id
WHERE l.received_at >= $received_from AND l.received_at < $received_to
    AND p.time >= $near_first AND p.time < $near_before AND p.request_id IS NOT NULL
UNION ALL
SELECT request_id, time FROM predictions_all.$table
WHERE time >= $near_first AND time < $near_before AND request_id IS NOT NULL AND prediction_id IN (
    SELECT prediction_id FROM labels.$table WHERE {_RECEIVED} AND prediction_time IS NULL
)
"""

# Windows end where buckets end, so the newest time in a bucket touches whatever others in it do.
_BUCKETS: Final = """
SELECT max(time) AS time
FROM ($times)
WHERE time >= $first AND time < $before
GROUP BY (epoch_us(time) + $offset_us) // $interval_us
"""

STORED: Final = """
SELECT model, series, value, sample_count, label_coverage, as_of
FROM metric_values_latest
WHERE metric = $metric AND window_start = $window_start AND window_end = $window_end
"""
"""What is stored of a metric for one window."""

_OLDEST: Final = "SELECT min(time) FROM predictions_all.$table"

_OLDEST_LABEL: Final = "SELECT least(min(time), min(prediction_time)) FROM labels.$table"


PARTNERS: Final = "partners"
"""What a query reads beside a model's schemas if predictions of the same request have a say in each other."""

PARTNERS_APART: Final = timedelta(hours=1)
"""How far outside a window the partners of its predictions can be, as in `lapwing_pairs`."""


@dataclass(frozen=True, slots=True)
class TouchedTimes:
    """Queries that tell which event times are touched by what was received in a span.

    Attributes:
        sql: Gives, of every interval in which there are some, the newest event time that is touched.
            Parameters: `received_from`, `received_to`; `first` and `before` bound event times;
            `interval_us`, `offset_us`; where there is `near`, its parameters as well.
        near: Gives the `first` and the `last` time of what touches others: only times in reach of those are
            touched. Parameters: `received_from`, `received_to`; `near_first` and `near_before` bound them.
    """

    sql: str
    near: str | None = None


def touched_times(schemas: Collection[str], table: str) -> list[TouchedTimes]:
    """What tells which event times are touched, for a query over `schemas`.

    Args:
        schemas: What the query names the model's table with: `predictions`, `labeled`, …, and `PARTNERS`.
        table: The model's table.
    """
    named = frozenset(schemas)
    parts: list[tuple[str, str | None]] = []
    predictions = named & {"predictions", "predictions_all", "labeled"}
    if predictions:
        parts.append((_OF_PREDICTIONS, None))
    if "labeled" in named or ("labels" in named and predictions):
        parts.append((_OF_LABELED, None))
    if "labels" in named:
        parts.append((_OF_LABELS, None))
    if PARTNERS in named:
        parts.append((_PARTNERS, _ASKED))
    if PARTNERS in named and "labeled" in named:
        parts.append((_PARTNERS, _ASKED_AND_LABELED))
    return [_touched(times, touching, table) for times, touching in parts]


def _touched(times: str, touching: str | None, table: str) -> TouchedTimes:
    def of_table(sql: str) -> str:
        return sql.replace("$touching", touching or "").replace("$table", identifier(table))

    return TouchedTimes(
        of_table(_BUCKETS.replace("$times", times)), None if touching is None else of_table(_NEAR)
    )


def oldest_time(table: str) -> str:
    """The query for the event time of the oldest prediction that is kept."""
    return _OLDEST.replace("$table", identifier(table))


def oldest_times(schemas: Collection[str], table: str) -> list[str]:
    """Queries for the oldest event times in the tables of a model; there is nothing to judge before.

    Args:
        schemas: What a query names the model's table with.
        table: The model's table.
    """
    parts = [_OLDEST_LABEL] if "labels" in schemas else []
    if set(schemas) - {"labels"}:
        parts.append(_OLDEST)
    return [part.replace("$table", identifier(table)) for part in parts]
