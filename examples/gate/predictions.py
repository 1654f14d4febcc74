"""Trains a model and its successor on scikit-learn's tumours, and writes what both say of others.

python predictions.py            a good successor
python predictions.py --worse    one that learned from 30 rows
"""

import sys
from pathlib import Path

import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FIELDS = ["mean radius", "mean texture", "mean smoothness", "mean concavity", "mean symmetry"]


def write_predictions(folder: Path, *, worse: bool = False) -> None:
    """Write `train.parquet`, `production.parquet` and `candidate.parquet` into a folder."""
    rows = load_breast_cancer(as_frame=True).frame
    rows = rows.assign(malignant=1 - rows["target"], prediction_id=[f"tumour-{at}" for at in rows.index])
    train, test = train_test_split(rows, test_size=0.5, random_state=0, stratify=rows["malignant"])
    learned = {"production": (train, FIELDS[:3]), "candidate": (train, FIELDS)}
    if worse:
        learned["candidate"] = train.head(30), FIELDS[1:3]
    for name, (known, fields) in learned.items():
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(known[fields], known["malignant"])
        score = model.predict_proba(test[fields])[:, 1]
        said = pd.DataFrame(
            {
                "prediction_id": test["prediction_id"],
                **{field: test[field] for field in FIELDS},
                "score": score,
                "prediction": (score >= 0.5).astype(int),
                "label": test["malignant"],
            }
        )
        said.to_parquet(folder / f"{name}.parquet", index=False)
    train[FIELDS].to_parquet(folder / "train.parquet", index=False)


if __name__ == "__main__":
    write_predictions(Path(), worse="--worse" in sys.argv)
