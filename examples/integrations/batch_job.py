"""A nightly job that scores a table with scikit-learn; it fails unless every row is on the collector's disk.

pip install 'lapwing[tables]' scikit-learn pandas
"""

import pandas as pd
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

import lapwing


def main() -> pd.DataFrame:
    """Train, score, and hand over what was scored."""
    # A job may wait for room and for the collector; a service would not.
    lapwing.init(service="wine-nightly", on_full="wait", retry_for_s=600)
    wines = load_wine(as_frame=True).frame.rename(columns=lambda name: name.replace("/", "_"))
    train, fresh = train_test_split(wines, test_size=0.5, random_state=0, stratify=wines["target"])
    features = list(wines.columns.drop("target"))

    forest = RandomForestClassifier(n_estimators=20, random_state=0).fit(train[features], train["target"])
    # Task, classes and importances of features are found by themselves.
    watched = lapwing.watch(forest, model="wine", version="2026-11")

    # A row each, in one record; with a column of your own for the ids: prediction_id="order_id".
    scored = fresh.assign(predicted=watched.predict(fresh[features]))
    scored["prediction_id"] = lapwing.last_prediction_ids()

    # Where the truth is there already, it goes along; else keep the ids, and log it when it is.
    lapwing.log_labels(scored[["prediction_id", "target"]].rename(columns={"target": "label"}), model="wine")
    if not lapwing.flush(timeout_s=600):
        raise SystemExit(f"not everything arrived: {lapwing.stats()}")
    return scored


if __name__ == "__main__":
    print(main())
