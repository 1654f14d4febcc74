"""The steps of a scoring pipeline as plain functions, for whatever runs pipelines.

pip install 'lapwing[tables]' pandas
"""

import os
from datetime import date
from pathlib import Path

import pandas as pd

import lapwing


def score(folder: str, day: str) -> int:
    """Score the customers of a day; a second run of the same day records nothing twice.

    The ids are the pipeline's own, and so is the time: a run that is made up for belongs to its day.
    """
    customers = pd.read_csv(Path(folder) / f"customers-{day}.csv")
    lapwing.init(service="churn-pipeline", on_full="wait", retry_for_s=600)

    @lapwing.watch(model="pipeline_churn", version="5", prediction_id="prediction_id")
    def predict(customers: pd.DataFrame) -> pd.DataFrame:
        score = 1 / (1 + customers["months"])
        return pd.DataFrame({"value": score > 0.2, "score": score})

    with lapwing.at(pd.Timestamp(date.fromisoformat(day), tz="UTC").to_pydatetime()):
        predict(customers.assign(prediction_id=day + "-" + customers.pop("customer").astype(str)))
    if not lapwing.flush(timeout_s=600):
        raise RuntimeError(f"not everything arrived: {lapwing.stats()}")
    return len(customers)


def bring_truths(folder: str, day: str) -> int:
    """Bring what is known by now of the customers of a day."""
    truths = pd.read_csv(Path(folder) / f"left-{day}.csv")
    labels = pd.DataFrame(
        {"prediction_id": day + "-" + truths["customer"].astype(str), "label": truths["left"]}
    )
    lapwing.log_labels(labels, model="pipeline_churn", source="billing")
    if not lapwing.flush(timeout_s=600):
        raise RuntimeError(f"not everything arrived: {lapwing.stats()}")
    return len(labels)


def check(day: str) -> float:
    """Fail where too many of a day's predictions were wrong; alerts tell people, this stops a pipeline."""
    lake = lapwing.connect(os.environ.get("LAPWING_URL", "http://localhost:4319"))
    rows = list(
        lake.sql(
            "FROM accuracy('pipeline_churn', $day, $day + INTERVAL 1 DAY)",
            day=pd.Timestamp(day).to_pydatetime(),
        )
    )
    if not rows or rows[0]["value"] is None:
        raise RuntimeError(f"no truths of {day} yet")
    if rows[0]["value"] < 0.5:
        raise RuntimeError(f"accuracy of {day} is {rows[0]['value']:.2f}")
    return float(rows[0]["value"])
