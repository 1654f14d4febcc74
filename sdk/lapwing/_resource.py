"""Who sends: the attributes of the OpenTelemetry resource."""

import sys
from pathlib import Path

from opentelemetry.sdk.resources import OTELResourceDetector

from lapwing import semconv
from lapwing._config import Settings
from lapwing._version import __version__


def resource_attributes(settings: Settings, process_id: str) -> dict[str, object]:
    """Join what `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say with the settings, which win."""
    attributes: dict[str, object] = {
        semconv.SERVICE_NAME: f"unknown_service:{Path(sys.executable).name or 'python'}",
        **OTELResourceDetector().detect().attributes,
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
