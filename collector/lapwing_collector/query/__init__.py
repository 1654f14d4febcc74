"""Reading the lake: SQL that can only look, in processes that hold nothing else and can be killed."""

from lapwing_collector.query.calls import metrics_in
from lapwing_collector.query.explaining import Part, explain, script
from lapwing_collector.query.guard import (
    check_select,
    counts_failures,
    paired_in,
    parse_select,
    reads_profiles,
    reads_rows,
    tables_in,
)
from lapwing_collector.query.late import (
    PARTNERS,
    PARTNERS_APART,
    STORED,
    TouchedTimes,
    oldest_time,
    oldest_times,
    touched_times,
)
from lapwing_collector.query.library import METRICS, Metric
from lapwing_collector.query.limits import Limits
from lapwing_collector.query.measured import Measured, measured_in
from lapwing_collector.query.origin import ORIGIN
from lapwing_collector.query.pool import PoolStats, QueryPool
from lapwing_collector.query.process import QueryProcess
from lapwing_collector.query.render import cells
from lapwing_collector.query.segments import SEGMENT, example_ids, segment_values, within_segment
from lapwing_collector.query.session import Session
from lapwing_collector.query.spare import Spare

__all__ = [
    "METRICS",
    "ORIGIN",
    "PARTNERS",
    "PARTNERS_APART",
    "SEGMENT",
    "STORED",
    "Limits",
    "Measured",
    "Metric",
    "Part",
    "PoolStats",
    "QueryPool",
    "QueryProcess",
    "Session",
    "Spare",
    "TouchedTimes",
    "cells",
    "check_select",
    "counts_failures",
    "example_ids",
    "explain",
    "measured_in",
    "metrics_in",
    "oldest_time",
    "oldest_times",
    "paired_in",
    "parse_select",
    "reads_profiles",
    "reads_rows",
    "script",
    "segment_values",
    "tables_in",
    "touched_times",
    "within_segment",
]
