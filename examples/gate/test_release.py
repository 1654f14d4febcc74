"""The gate as a test among others: `pytest test_release.py`, after `python predictions.py`."""

import os
from pathlib import Path

from gate import evaluate_candidate

FOLDER = os.environ.get("PREDICTIONS", str(Path(__file__).parent))


def test_the_candidate_may_be_released() -> None:
    """No rule stops it; where one does, the message is what `lapwing evaluate` prints."""
    evaluate_candidate(FOLDER, version=os.environ.get("VERSION", "candidate")).raise_for_verdict()
