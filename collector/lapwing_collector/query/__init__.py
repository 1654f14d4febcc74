"""Reading the lake: SQL that can only look, in processes that hold nothing else and can be killed."""

from lapwing_collector.query.guard import check_select, tables_in
from lapwing_collector.query.late import STORED, oldest_time, touched_times
from lapwing_collector.query.limits import Limits
from lapwing_collector.query.pool import PoolStats, QueryPool
from lapwing_collector.query.process import QueryProcess
from lapwing_collector.query.render import cells
from lapwing_collector.query.session import Session
from lapwing_collector.query.spare import Spare

__all__ = [
    "STORED",
    "Limits",
    "PoolStats",
    "QueryPool",
    "QueryProcess",
    "Session",
    "Spare",
    "cells",
    "check_select",
    "oldest_time",
    "tables_in",
    "touched_times",
]
