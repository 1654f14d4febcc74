"""SQL that finds what late rows and labels touch, and what is stored of a metric's window."""

from collections.abc import Collection
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


def touched_times(schemas: Collection[str], table: str) -> list[str]:
    """Queries that tell which event times what was received in a span touches, for a query over `schemas`.

    Each gives, of every interval in which there are some, the newest event time that is touched. Parameters:
    `received_from`, `received_to`; `first` and `before` bound event times; `interval_us`, `offset_us`.

    Args:
        schemas: What the query names the model's table with: `predictions`, `labeled`, …
        table: The model's table.
    """
    named = frozenset(schemas)
    parts = []
    predictions = named & {"predictions", "predictions_all", "labeled"}
    if predictions:
        parts.append(_OF_PREDICTIONS)
    if "labeled" in named or ("labels" in named and predictions):
        parts.append(_OF_LABELED)
    if "labels" in named:
        parts.append(_OF_LABELS)
    return [_BUCKETS.replace("$times", part).replace("$table", identifier(table)) for part in parts]


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
