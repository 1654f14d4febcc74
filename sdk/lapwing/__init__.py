"""Lapwing watches machine-learning models in production.

    import lapwing

    @lapwing.watch(model="churn", version="3")
    def predict(age: int, plan: str) -> dict[str, float]: ...

Every call becomes an OpenTelemetry log record, sent in the background to a collector (`lapwing up`).
"""

from lapwing._log import log_label, log_prediction
from lapwing._process import flush, init, shutdown, stats
from lapwing._queue import Stats
from lapwing._time import at, last_prediction_id
from lapwing._version import __version__
from lapwing._watch import watch

__all__ = [
    "Stats",
    "__version__",
    "at",
    "flush",
    "init",
    "last_prediction_id",
    "log_label",
    "log_prediction",
    "shutdown",
    "stats",
    "watch",
]
