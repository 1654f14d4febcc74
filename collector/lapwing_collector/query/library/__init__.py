"""The library of metrics: table functions over the lake, written in SQL, and functions that SQL lacks."""

from lapwing_collector.query.library.catalogue import METRICS, PIECES, Metric, Parameter
from lapwing_collector.query.library.functions import FUNCTIONS, PRIVATE
from lapwing_collector.query.library.loading import load, names_behind, views_behind

__all__ = [
    "FUNCTIONS",
    "METRICS",
    "PIECES",
    "PRIVATE",
    "Metric",
    "Parameter",
    "load",
    "names_behind",
    "views_behind",
]
