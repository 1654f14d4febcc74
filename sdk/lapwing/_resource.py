"""Who sends: the attributes of the OpenTelemetry resource."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

from opentelemetry.sdk.environment_variables import OTEL_EXPERIMENTAL_RESOURCE_DETECTORS
from opentelemetry.sdk.resources import OTELResourceDetector

from lapwing import semconv
from lapwing._config import Settings
from lapwing._version import __version__

_logger: Final = logging.getLogger("lapwing")


def resource_attributes(settings: Settings, process_id: str) -> dict[str, object]:
    """Join what the detectors and OpenTelemetry's variables say with the settings, which win."""
    attributes: dict[str, object] = {
        semconv.SERVICE_NAME: f"unknown_service:{Path(sys.executable).name or 'python'}",
        **_detected(),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "lapwing",
        "telemetry.sdk.version": __version__,
        semconv.PROCESS_ID: process_id,
    }
    if settings.service is not None:
        attributes[semconv.SERVICE_NAME] = settings.service
    if settings.environment is not None:
        attributes[semconv.ENVIRONMENT] = settings.environment
    return attributes


def _detected() -> dict[str, object]:
    """Run the detectors that are asked for, in their order; a later one wins.

    `Resource.create` would do the same in a pool of threads, and cannot where a script that just ends
    sends its records: an interpreter that is finishing starts no more threads.
    """
    names = [name.strip() for name in os.environ.get(OTEL_EXPERIMENTAL_RESOURCE_DETECTORS, "").split(",")]
    detectors = _installed() if any(names) else {}
    attributes: dict[str, object] = {}
    for name in dict.fromkeys([*_expanded(filter(None, names), detectors), "otel"]):
        try:
            detector = OTELResourceDetector if name == "otel" else detectors[name].load()
            attributes.update(detector().detect().attributes)
        except Exception as error:  # noqa: BLE001  # a foreign plug-in costs its attributes, nothing else
            _logger.warning("the resource detector %r failed: %r; its attributes are left out", name, error)
    return attributes


def _installed() -> dict[str, EntryPoint]:
    """Find the detectors of all installed packages, which takes a while."""
    return {entry.name: entry for entry in entry_points(group="opentelemetry_resource_detector")}


def _expanded(names: Iterable[str], detectors: Iterable[str]) -> Iterator[str]:
    """Put all detectors in the place of `*`; that for the resource variable stays last."""
    for name in names:
        yield from (sorted(set(detectors) - {"otel"}) if name == "*" else [name])
