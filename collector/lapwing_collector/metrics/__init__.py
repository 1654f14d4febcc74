"""What is measured.

How far a model's data is complete, what changes when some of it comes late, what its distributions are, and
what they are compared with.
"""

from lapwing_collector.metrics.binning import freeze
from lapwing_collector.metrics.columns import (
    countable,
    countable_fields,
    countable_places,
    file_places,
    is_number,
    is_text,
)
from lapwing_collector.metrics.counting import ProfileCounter, add_up
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
from lapwing_collector.metrics.reference import (
    ORDER,
    columns_of,
    field_names,
    fitting_rows,
    kept_rows,
    reference_rows,
)
from lapwing_collector.metrics.watermark import (
    DATA_CLOCK,
    WALL_CLOCK,
    WatermarkPolicy,
    newest_credible,
    watermark,
)

__all__ = [
    "DATA_CLOCK",
    "ORDER",
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
    "file_places",
    "fitting_rows",
    "freeze",
    "is_number",
    "is_text",
    "kept_rows",
    "later_than",
    "newest_credible",
    "reference_rows",
    "rest_after",
    "retry_after",
    "revised",
    "touched_slots",
    "touching_span",
    "watermark",
]
