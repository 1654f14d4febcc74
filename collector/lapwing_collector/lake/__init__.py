"""The lake: DuckLake tables that one owner writes and many read."""

from lapwing_collector.lake.keeper import CatalogKeeper
from lapwing_collector.lake.writer import Lake, Progress, QueuedMetric

__all__ = ["CatalogKeeper", "Lake", "Progress", "QueuedMetric"]
