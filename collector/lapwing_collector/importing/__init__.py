"""Files that people bring: their rows become what senders send, those that cannot are told by line."""

from lapwing_collector.importing.cells import ROW_TIME, filled, parse_time, texts, times
from lapwing_collector.importing.labels import Key, LabelPlan, plan_labels
from lapwing_collector.importing.predictions import PredictionPlan, plan_predictions
from lapwing_collector.importing.records import Sender
from lapwing_collector.importing.rows import Part, Reject
from lapwing_collector.importing.source import Chunk, Source, open_source

__all__ = [
    "ROW_TIME",
    "Chunk",
    "Key",
    "LabelPlan",
    "Part",
    "PredictionPlan",
    "Reject",
    "Sender",
    "Source",
    "filled",
    "open_source",
    "parse_time",
    "plan_labels",
    "plan_predictions",
    "texts",
    "times",
]
