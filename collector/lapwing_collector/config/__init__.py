"""Reading Lapwing's files: YAML checked against a schema, every mistake named with its place."""

from lapwing_collector.config.documents import (
    Document,
    parse_document,
    parse_duration,
    read_document,
    resolve_references,
)
from lapwing_collector.config.models import load_model, merge_models
from lapwing_collector.config.settings import Settings, load_settings, settings_file

__all__ = [
    "Document",
    "Settings",
    "load_model",
    "load_settings",
    "merge_models",
    "parse_document",
    "parse_duration",
    "read_document",
    "resolve_references",
    "settings_file",
]
