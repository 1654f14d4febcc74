"""What columns of files are usually called, where nobody says what they are."""

from typing import Final

TIMES: Final = ("time", "timestamp", "event_time", "datetime", "ts")
"""When predictions were made."""

LABELS: Final = ("label", "truth", "target", "y_true", "actual", "ground_truth")

LABEL_TIMES: Final = ("label_time", "time", "labeled_at", "known_at")
"""When the truth became known."""

PREDICTION_TIMES: Final = ("prediction_time", "predicted_at")
"""When predictions were made, in files of labels."""

PREDICTION_IDS: Final = ("prediction_id", "id")

OUTPUTS: Final = {
    "prediction": "value",
    "predicted": "value",
    "y_pred": "value",
    "score": "score",
    "probability": "score",
    "y_score": "score",
}
"""Columns that are fields of `output`, and which."""
