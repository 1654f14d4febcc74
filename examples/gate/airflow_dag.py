"""The gate in Airflow: a task between training and release that fails where the candidate does not pass."""

from gate import gate

try:
    from airflow.sdk import dag, task
except ImportError:  # the task itself needs no Airflow: tests call it as it is
    pass
else:

    @dag(schedule="@weekly", catchup=False)
    def release_tumours() -> None:
        """Train, judge, release."""

        @task
        def train() -> str:
            from pathlib import Path

            from predictions import write_predictions

            folder = Path("/var/lib/airflow/tumours")
            folder.mkdir(parents=True, exist_ok=True)
            write_predictions(folder)
            return str(folder)

        @task
        def release(run_id: str) -> None:
            print(f"released; run {run_id} says why")

        release(task(gate)(train(), "{{ ds }}"))

    release_tumours()
