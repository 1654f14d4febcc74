"""Scoring in Prefect: each day's customers, and a week later whether they left."""

from datetime import date, timedelta

from scoring import bring_truths, check, score

FOLDER = "/var/lib/prefect/churn"

try:
    from prefect import flow, task
except ImportError:  # the tasks themselves need no Prefect: tests call them as they are
    pass
else:

    @flow
    def churn(day: date) -> float:
        """Score a day; then bring the truths of the day a week before, and look at them."""
        week_ago = (day - timedelta(days=7)).isoformat()
        task(score, retries=3)(FOLDER, day.isoformat())
        task(bring_truths, retries=3)(FOLDER, week_ago)
        return task(check)(week_ago)
