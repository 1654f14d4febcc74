"""What is measured: how far a model's data is complete, and what its distributions are compared with."""

from lapwing_collector.metrics.facts import facts_of
from lapwing_collector.metrics.reference import REFERENCE_BINS, reference_bins
from lapwing_collector.metrics.watermark import (
    DATA_CLOCK,
    WALL_CLOCK,
    WatermarkPolicy,
    newest_credible,
    watermark,
)

__all__ = [
    "DATA_CLOCK",
    "REFERENCE_BINS",
    "WALL_CLOCK",
    "WatermarkPolicy",
    "facts_of",
    "newest_credible",
    "reference_bins",
    "watermark",
]
