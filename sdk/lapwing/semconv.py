"""The wire contract: names of Lapwing's events, attributes and body keys in OTLP log records.

Anyone can send these records from any language; `docs/conventions.md` explains them. Names of
OpenTelemetry itself (`service.name`, `error.type`, …) are listed here too, so that encoder and
decoder share one spelling.
"""

from typing import Final

EVENT_PREDICTION: Final = "ml.prediction"
EVENT_LABEL: Final = "ml.label"
EVENT_PREDICTION_BATCH: Final = "ml.prediction.batch"
EVENT_LABEL_BATCH: Final = "ml.label.batch"
EVENT_MODEL: Final = "ml.model"

MODEL_NAME: Final = "ml.model.name"
MODEL_VERSION: Final = "ml.model.version"
MODEL_VARIANT: Final = "ml.model.variant"
MODEL_UPSTREAM: Final = "ml.model.upstream"
PREDICTION_ID: Final = "ml.prediction.id"
PREDICTION_TIME: Final = "ml.prediction.time"
"""On a label: when its prediction was made, in nanoseconds since the epoch (integer)."""
PREDICTION_DURATION: Final = "ml.prediction.duration"
"""Seconds (double)."""
PREDICTION_STAGE: Final = "ml.prediction.stage"
PREDICTION_FALLBACK: Final = "ml.prediction.fallback"
PREDICTION_WEIGHT: Final = "ml.prediction.weight"
"""1 / sampling rate (double)."""
REQUEST_ID: Final = "ml.request.id"
LABEL_SOURCE: Final = "ml.label.source"
BATCH_ROWS: Final = "ml.batch.rows"
"""Rows of a batch (integer)."""
SEQUENCE: Final = "lapwing.sequence"
"""Counts the records of one process from 1 (integer); with PROCESS_ID it identifies a record."""

ERROR_TYPE: Final = "error.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

PROCESS_ID: Final = "lapwing.process.id"
REDACTION: Final = "lapwing.redaction"
"""On a resource, and on labels: which policy the collector has applied."""
SERVICE_NAME: Final = "service.name"
ENVIRONMENT: Final = "deployment.environment.name"

STAGE_PRODUCTION: Final = "production"
STAGE_SHADOW: Final = "shadow"
STAGE_CANDIDATE: Final = "candidate"

BODY_INPUTS: Final = "inputs"
BODY_OUTPUT: Final = "output"
BODY_LABEL: Final = "label"
BODY_ROLES: Final = "roles"
"""On a model: which field plays which of these roles, or is the label."""
ROLE_PREDICTION: Final = "prediction"
ROLE_SCORE: Final = "score"
ROLE_SCORES: Final = "scores"
ROLE_ITEMS: Final = "items"
OUTPUT_VALUE: Final = "value"
"""Where a scalar result goes: `output.value`."""
