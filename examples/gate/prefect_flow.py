"""The gate in Prefect: the flow goes on only where the candidate passes."""

from gate import gate

try:
    from prefect import flow, task
except ImportError:  # the task itself needs no Prefect: tests call it as it is
    pass
else:

    @flow
    def release_tumours(folder: str, version: str) -> None:
        """Judge, then release."""
        run_id = task(gate)(folder, version)
        print(f"released; run {run_id} says why")
