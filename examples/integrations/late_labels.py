"""Truths that come as CSV files in a folder, days after the predictions.

python late_labels.py /srv/drop churn      from cron, or a systemd timer
"""

import subprocess
import sys
from pathlib import Path

LAPWING = Path(sys.executable).with_name("lapwing")


def take_over(drop: Path, model: str, endpoint: str = "http://localhost:4318") -> list[str]:
    """Import every file that is complete; what happened to each is returned.

    Files are written elsewhere and moved in, so that none is seen half: `mv truths.csv.part truths.csv`. A
    file that is imported again changes nothing, so that a job that was killed simply runs again.
    """
    told = []
    for folder in ("done", "failed"):
        (drop / folder).mkdir(exist_ok=True)
    for file in sorted(drop.glob("*.csv")):
        rejects = drop / "failed" / f"{file.stem}.rejects.csv"
        done = subprocess.run(  # noqa: S603  # our own command
            [
                LAPWING,
                "labels",
                "import",
                file,
                "--model",
                model,
                "--endpoint",
                endpoint,
                "--rejects",
                rejects,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        # 1: some rows were not taken, and are told by line in the file of rejects; or nobody answered.
        if done.returncode and not rejects.exists():
            told.append(f"{file.name}: again next time: {done.stderr.strip()}")
            continue
        file.rename(drop / "done" / file.name)
        told.append(f"{file.name}: {done.stdout.strip() or done.stderr.strip()}")
    return told


if __name__ == "__main__":
    print("\n".join(take_over(Path(sys.argv[1]), sys.argv[2])))
