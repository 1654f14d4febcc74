"""Reading the lake: SQL that can only look, in this process or in one that can be killed."""

from lapwing_collector.query.guard import check_select, tables_in
from lapwing_collector.query.session import Session
from lapwing_collector.query.worker import QueryPool, QueryProcess

__all__ = ["QueryPool", "QueryProcess", "Session", "check_select", "tables_in"]
