"""Joins the lake, which keeps profiles, with the metrics, which know how to count."""

from typing import Final

from lapwing_collector.metrics import ProfileCounter, add_up, countable_fields, freeze
from lapwing_collector.model.profiles import Profiling

PROFILING: Final = Profiling(counter=ProfileCounter, freeze=freeze, countable=countable_fields, add_up=add_up)
"""What every process that owns a lake gives to it."""
