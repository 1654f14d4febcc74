"""The gate in Prefect: the flow goes on only where the candidate passes."""

from gate import evaluate_candidate


def gate(folder: str, version: str) -> str:
    """Judge the candidate; raises unless it passes. What it returns is the id of the run."""
    run = evaluate_candidate(folder, version)
    run.raise_for_verdict()
    return run.id


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
