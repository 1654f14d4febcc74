"""The lake: DuckLake tables that one owner writes and many read."""

from lapwing_collector.lake.keeper import CatalogKeeper
from lapwing_collector.lake.tables import ROOTS
from lapwing_collector.lake.types import declared_type, sql_type
from lapwing_collector.lake.writer import Lake, Progress, QueuedMetric

__all__ = ["ROOTS", "CatalogKeeper", "Lake", "Progress", "QueuedMetric", "declared_type", "sql_type"]
