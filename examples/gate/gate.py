"""The gate as one function, for whatever runs pipelines."""

from pathlib import Path

import lapwing

HERE = Path(__file__).parent


def evaluate_candidate(folder: str, version: str) -> lapwing.Evaluation:
    """Judge the candidate whose predictions are in a folder, and leave its report there."""
    files = Path(folder)
    run = lapwing.evaluate(
        HERE / "rules.yaml",
        files / "candidate.parquet",
        model="tumours",
        version=version,
        against=files / "production.parquet",
        reference=f"train={files / 'train.parquet'}",
        config=HERE / "lapwing.yaml",
    )
    (files / "report.html").write_text(run.html(), encoding="utf-8")
    return run


def gate(folder: str, version: str) -> str:
    """Judge the candidate, as a task that fails unless it passes; what it returns is the id of the run."""
    run = evaluate_candidate(folder, version)
    run.raise_for_verdict()
    return run.id
