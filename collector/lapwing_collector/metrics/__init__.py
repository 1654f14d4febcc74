"""What is measured.

How far a model's data is complete, what changes when some of it comes late, what its distributions are
compared with.
"""

from lapwing_collector.metrics.facts import facts_of
from lapwing_collector.metrics.late import (
    Schedule,
    chunks,
    later_than,
    rest_after,
    retry_after,
    revised,
    touched_slots,
    touching_span,
)
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
    "Schedule",
    "WatermarkPolicy",
    "chunks",
    "facts_of",
    "later_than",
    "newest_credible",
    "reference_bins",
    "rest_after",
    "retry_after",
    "revised",
    "touched_slots",
    "touching_span",
    "watermark",
]
