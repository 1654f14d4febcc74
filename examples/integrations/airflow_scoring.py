"""Scoring in Airflow: each day's customers, and a week later whether they left."""

from scoring import bring_truths, check, score

FOLDER = "/var/lib/airflow/churn"

try:
    from airflow.sdk import dag, task
except ImportError:  # the tasks themselves need no Airflow: tests call them as they are
    pass
else:

    @dag(schedule="@daily", catchup=True, default_args={"retries": 3})
    def churn() -> None:
        """Score a day; then bring the truths of the day a week before, and look at them."""
        week_ago = "{{ macros.ds_add(ds, -7) }}"
        scored = task(score)(FOLDER, "{{ ds }}")
        brought = task(bring_truths)(FOLDER, week_ago)
        scored >> brought >> task(check)(week_ago)

    churn()
