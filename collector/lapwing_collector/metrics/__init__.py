"""What is measured.

How far a model's data is complete, what changes when some of it comes late, what its distributions are, and
what they are compared with.
"""

from lapwing_collector.metrics.binning import freeze
from lapwing_collector.metrics.columns import countable, countable_fields, countable_places
from lapwing_collector.metrics.counting import ProfileCounter, add_up
from lapwing_collector.metrics.facts import facts_of
from lapwing_collector.metrics.late import (
    Schedule,
    chunks,
    later_than,
    rest_after,
    retry_after,
    revised,
    slots_between,
    touched_slots,
    touching_span,
)
from lapwing_collector.metrics.reference import columns_of, field_names, reference_rows
from lapwing_collector.metrics.watermark import (
    DATA_CLOCK,
    WALL_CLOCK,
    WatermarkPolicy,
    newest_credible,
    watermark,
)

__all__ = [
    "DATA_CLOCK",
    "WALL_CLOCK",
    "ProfileCounter",
    "Schedule",
    "WatermarkPolicy",
    "add_up",
    "chunks",
    "columns_of",
    "countable",
    "countable_fields",
    "countable_places",
    "facts_of",
    "field_names",
    "freeze",
    "later_than",
    "newest_credible",
    "reference_rows",
    "rest_after",
    "retry_after",
    "revised",
    "slots_between",
    "touched_slots",
    "touching_span",
    "watermark",
]
