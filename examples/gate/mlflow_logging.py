"""What an evaluation says, in the MLflow run that trained the model: values, verdict, and the page."""

import lapwing


def log_evaluation(run: lapwing.Evaluation) -> None:
    """Log an evaluation to the active MLflow run."""
    import mlflow

    for check in run.checks:
        if check.value is None:
            continue
        rows = ".".join(check.labels.values())
        name = ".".join(filter(None, [check.rule, rows])).replace(" ", "_")
        mlflow.log_metric(name, check.value)
    mlflow.set_tag("lapwing.verdict", "passed" if run.passed else "failed")
    mlflow.set_tag("lapwing.evaluation", run.id)
    mlflow.log_dict(run.as_dict(), "lapwing/evaluation.json")
    mlflow.log_text(run.html(), "lapwing/report.html")
