"""From when on the lake has every row that a model ever had: retention took what is older."""

from datetime import datetime
from typing import Final

from lapwing_collector.app.judging.completeness import Completeness
from lapwing_collector.app.judging.evaluating import RunQuery
from lapwing_collector.app.upkeep.maintenance import retention_of
from lapwing_collector.config import Settings
from lapwing_collector.errors import NotSeenYetError
from lapwing_collector.lake.files import TableName
from lapwing_collector.lake.retention import cutoff
from lapwing_collector.query import oldest_time

_LOOK_S: Final = 30.0


class KeptFrom:
    """Tells from when on a model's predictions are whole: earlier windows are to stay as they were judged."""

    def __init__(self, settings: Settings, completeness: Completeness) -> None:
        """Follow the retention that `settings` say."""
        self._retention = retention_of(settings.retention)
        self._completeness = completeness

    def __call__(self, table: str, run_query: RunQuery) -> datetime | None:
        """From when on `table` is whole; None for all times.

        Raises:
            QueryError: The lake does not answer.
        """
        keep = self._retention.of(TableName("predictions_all", table))
        marks = self._completeness.marks([table]) or []
        known = []
        if keep.age is not None and marks:
            known.append(cutoff(keep.age, self._completeness.now(marks)))
        if keep.size_bytes is not None or self._retention.default.size_bytes is not None:
            try:
                oldest = run_query(oldest_time(table), {}, _LOOK_S).column(0)[0].as_py()
            except NotSeenYetError:
                oldest = None
            known += [] if oldest is None else [oldest]
        return max(known, default=None)
