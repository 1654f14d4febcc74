"""What the demo found, and whether it is true: lake, alerts and inbox held against what was replayed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from lapwing_collector.app.answers.asking import ask
from lapwing_collector.demo.inbox import Delivery
from lapwing_collector.demo.replay import Replayed
from lapwing_collector.model.alerts import Status, Transition

_TOTALS: Final = """
SELECT
    count(*) AS predictions, count(DISTINCT prediction_id) AS distinct_ids,
    count(DISTINCT inputs.flight) AS flights, count(error_type) AS failures,
    count(label) AS labels, avg((output.late = label)::INT) AS accuracy
FROM labeled.flights
"""

BY_ORIGIN: Final = "SELECT inputs.origin, avg((output.late = label)::INT) FROM labeled.flights GROUP BY 1"
"""The query that the documentation shows."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something the summary says, and whether it holds."""

    text: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Episode:
    """An alert from firing to resolving; `resolved_at` is None while it fires. Event time, naive UTC."""

    name: str
    labels: str
    fired_at: datetime
    resolved_at: datetime | None
    peak: float | None


def check_lake(data: Path, replayed: Replayed) -> list[Check]:
    """Hold the tables against what the service knows."""
    (row,) = ask(None, {"data": data}, _TOTALS).to_pylist()
    once = row["predictions"] == row["distinct_ids"] == row["flights"] == replayed.predictions
    accuracy = replayed.right / replayed.judged
    return [
        Check(f"{row['predictions']:,} flights replayed are stored, each exactly once", once),
        Check(
            f"{row['labels']:,} truths arrived later and are joined, each", row["labels"] == replayed.labels
        ),
        Check(
            f"{row['failures']:,} predictions failed and are stored with their error",
            row["failures"] == replayed.failures,
        ),
        Check(
            f"the accuracy of {row['accuracy']:.2%} is the one that the service itself counted",
            abs(row["accuracy"] - accuracy) < 1e-12,
        ),
    ]


def check_messages(history: Sequence[Transition], deliveries: Sequence[Delivery]) -> list[Check]:
    """Hold what was delivered against what was decided: every transition once to each receiver."""
    fired = sum(transition.status is Status.FIRING for transition in history)
    resolved = len(history) - fired
    by_key = Counter(delivery.key for delivery in deliveries)
    by_way = Counter(delivery.via for delivery in deliveries)
    http, smtp = by_way["http"], by_way["smtp"]
    return [
        Check(f"{fired} alerts fired, {resolved} of them resolved", 0 < resolved <= fired),
        Check(
            f"each was told once by webhook ({http}) and once by mail ({smtp})",
            http == smtp == len(history) and all(count == 1 for key, count in by_key.items() if key),
        ),
    ]


def episodes(history: Sequence[Transition]) -> list[Episode]:
    """Pair firings with their resolves, in order of firing; `history` is oldest first."""
    found: list[Episode] = []
    open_ones: dict[str, int] = {}
    for transition in history:
        instance = transition.instance
        if transition.status is Status.FIRING:
            open_ones[instance.fingerprint] = len(found)
            found.append(
                Episode(
                    instance.labels["alertname"],
                    _own_labels(transition),
                    transition.slot,
                    None,
                    instance.peak,
                )
            )
        elif (index := open_ones.pop(instance.fingerprint, None)) is not None:
            opened = found[index]
            found[index] = Episode(
                opened.name, opened.labels, opened.fired_at, transition.slot, instance.peak
            )
    return found


def accuracy_by_origin(data: Path) -> list[dict[str, Any]]:
    """The answer to `BY_ORIGIN`, as rows with `origin` and `accuracy`."""
    rows = ask(None, {"data": data}, BY_ORIGIN).rename_columns(["origin", "accuracy"]).to_pylist()
    return sorted(rows, key=lambda row: str(row["origin"]))


def _own_labels(transition: Transition) -> str:
    hidden = {"alertname", "model", "severity"}
    return ", ".join(
        value for name, value in sorted(transition.instance.labels.items()) if name not in hidden
    )
