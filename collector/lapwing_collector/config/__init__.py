"""Reading Lapwing's files: YAML checked against a schema, every mistake named with its place."""

from lapwing_collector.config.documents import (
    Document,
    PlacedError,
    parse_document,
    parse_duration,
    places_in,
    read_document,
    referenced_files,
    resolve_references,
    without_items,
)
from lapwing_collector.config.edit import add_entry
from lapwing_collector.config.models import load_model, merge_models
from lapwing_collector.config.settings import Settings, load_settings, settings_file

__all__ = [
    "Document",
    "PlacedError",
    "Settings",
    "add_entry",
    "load_model",
    "load_settings",
    "merge_models",
    "parse_document",
    "parse_duration",
    "places_in",
    "read_document",
    "referenced_files",
    "resolve_references",
    "settings_file",
    "without_items",
]
