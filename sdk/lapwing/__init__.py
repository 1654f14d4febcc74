"""Lapwing watches machine-learning models in production.

    import lapwing

    @lapwing.watch(model="churn", version="3")
    def predict(age: int, plan: str) -> dict[str, float]: ...

Every call becomes an OpenTelemetry log record, sent in the background to a collector (`lapwing up`).

    lapwing.connect("http://localhost:4319").sql("SELECT * FROM predictions.churn").pandas()
"""

from lapwing._connect import Connection, QueryError, Rows, connect
from lapwing._evaluate import Evaluation, EvaluationError, NotPassedError, Report, evaluate, report
from lapwing._log import log_label, log_labels, log_prediction
from lapwing._model import log_model
from lapwing._prediction import Prediction, prediction
from lapwing._process import flush, init, shutdown, stats
from lapwing._queue import Stats
from lapwing._scope import annotate, at, last_prediction_id, last_prediction_ids, scope
from lapwing._version import __version__
from lapwing._watch import watch

__all__ = [
    "Connection",
    "Evaluation",
    "EvaluationError",
    "NotPassedError",
    "Prediction",
    "QueryError",
    "Report",
    "Rows",
    "Stats",
    "__version__",
    "annotate",
    "at",
    "connect",
    "evaluate",
    "flush",
    "init",
    "last_prediction_id",
    "last_prediction_ids",
    "log_label",
    "log_labels",
    "log_model",
    "log_prediction",
    "prediction",
    "report",
    "scope",
    "shutdown",
    "stats",
    "watch",
]
