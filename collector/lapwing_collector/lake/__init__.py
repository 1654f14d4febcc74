"""The lake: DuckLake tables that one owner writes and many read."""

from lapwing_collector.lake.writer import Lake, Progress, QueuedMetric

__all__ = ["Lake", "Progress", "QueuedMetric"]
