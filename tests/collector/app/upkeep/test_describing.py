"""The duty that describes models: from files, from what processes said, from their rows."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from helpers.batches import START, labels, logs, predictions
from helpers.ducklake import ducklake
from helpers.flaky import make_flaky
from lapwing_collector.app.upkeep.describing import Describing
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.model.description import (
    Feature,
    FeatureType,
    ModelDescription,
    Source,
    Task,
    merged,
)
from lapwing_collector.model.records import Batch


class Described:
    """A lake, and the duty over it, as a collector has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, ModelDescription] = {}
        self.position = 0
        self.open()

    def open(self) -> None:
        self.lake = Lake.open(self.folder)
        self.position = self.lake.progress.log
        self.duty = Describing(self.lake, self.files, now=lambda: datetime(2026, 1, 2))

    def restart(self) -> None:
        self.lake.close()
        self.open()

    def flush(self, *batches: Batch) -> None:
        self.position += 1
        self.lake.flush(batches, [], Progress(self.position, 0))

    def work(self) -> None:
        while self.duty.work():
            pass

    def rows(self) -> list[tuple[str, str | None, ModelDescription]]:
        """What the lake has, the oldest first."""
        found = self.lake.catalog.rows(
            "SELECT model, table_name, description FROM model_descriptions ORDER BY described_at, model"
        )
        return [(model, table, ModelDescription.from_json(text)) for model, table, text in found]

    def newest(self, model: str) -> ModelDescription:
        return [description for name, _, description in self.rows() if name == model][-1]


@pytest.fixture
def described(tmp_path: Path) -> Iterator[Described]:
    opened = Described(tmp_path / "lake")
    yield opened
    opened.lake.close()


def spoken(model: str, body: Any, *, process: str = "p", minute: int = 0) -> Batch:
    """A record in which a process says something of a model."""
    resource = {"attributes": {"lapwing.process.id": process}, "dropped_attributes_count": 0}
    return logs(
        [
            {"event_name": "http.request", "attributes": json.dumps({"ml.model.name": model}), "body": "{}"},
            {
                "event_name": "ml.model",
                "time": START + timedelta(minutes=minute),
                "attributes": json.dumps({"ml.model.name": model}),
                "resource": json.dumps(resource),
                "body": json.dumps(body),
            },
        ]
    )


def calls(model: str, count: int = 1, **more: Any) -> Batch:
    rows = [
        {
            "prediction_id": f"{model}{n}",
            "inputs.age": n,
            "output.late": n % 3 == 0,
            "output.score": 0.5,
            **more,
        }
        for n in range(count)
    ]
    return predictions(model, rows)


def test_a_model_is_described_as_soon_as_it_has_rows(described: Described) -> None:
    """Types tell the task and the roles; a second look, and a restart, add nothing."""
    described.flush(calls("churn"), calls("Churn"))
    described.work()
    described.work()
    described.restart()
    described.work()
    rows = described.rows()
    assert [(model, table) for model, table, _ in rows] == [("Churn", "Churn~2"), ("churn", "churn")]
    assert rows[1][2] == merged(
        {
            Source.INFERRED: ModelDescription(
                task=Task.CLASSIFICATION,
                prediction="output.late",
                score="output.score",
                label="label",
                positive_class="true",
                threshold=0.5,
                features={"inputs.age": Feature(FeatureType.NUMBER)},
            )
        }
    )


def test_a_new_field_and_a_first_label_change_the_description(described: Described) -> None:
    """A row is added when there is news, and only then; the newest holds."""
    described.flush(predictions("m", [{"output.value": 0.5}]))
    described.work()
    assert described.newest("m").task is Task.REGRESSION
    described.flush(labels("m", [{"prediction_id": "a", "label": True}]))
    described.work()
    assert (described.newest("m").task, described.newest("m").score) == (Task.CLASSIFICATION, "output.value")
    described.flush(predictions("m", [{"output.value": 0.5, "inputs.plan": "free"}]))
    described.work()
    assert set(described.newest("m").features) == {"inputs.plan"}
    described.flush(predictions("m", [{"output.value": 0.5}]))
    described.work()
    assert len(described.rows()) == 3


def test_a_file_wins_over_the_process_and_that_over_what_is_inferred(described: Described) -> None:
    """Each value is that of the first source that has one, and says which it is."""
    described.files["m"] = ModelDescription(threshold=0.8, segments=("inputs.plan",))
    described.flush(
        calls("m"), spoken("m", {"threshold": 0.7, "positive_class": "false", "features": {"inputs.age": {}}})
    )
    described.work()
    found = described.newest("m")
    assert (found.threshold, found.positive_class, found.task) == (0.8, "false", Task.CLASSIFICATION)
    assert {place: source.value for place, source in found.sources.items() if place[0] in "pts"} == {
        "task": "inferred",
        "prediction": "inferred",
        "score": "inferred",
        "positive_class": "sdk",
        "threshold": "file",
        "segments": "file",
    }


def test_what_a_process_said_outlives_restarts_and_its_log_records(described: Described) -> None:
    """It is said once, maybe before any prediction, and is known when everything else is forgotten."""
    described.flush(spoken("m", {"threshold": 0.7}))
    described.work()
    assert described.rows() == [("m", None, described.newest("m"))]
    ducklake(described.lake.catalog, "DELETE FROM logs")
    described.restart()
    described.flush(calls("m"))
    described.work()
    assert (described.newest("m").threshold, described.rows()[-1][1]) == (0.7, "m")
    described.files["m"] = ModelDescription(threshold=0.8)
    described.restart()
    described.work()
    assert described.newest("m").threshold == 0.8
    described.files.clear()
    described.restart()
    described.work()
    assert described.newest("m").threshold == 0.7


def test_the_newest_process_counts_in_whatever_order_records_come(described: Described) -> None:
    """Records of one process add to each other; those of a newer one take their place."""
    described.flush(calls("m"), spoken("m", {"threshold": 0.7}, process="new", minute=5))
    described.work()
    described.flush(spoken("m", {"threshold": 0.6, "task": "ranking"}, process="old", minute=4))
    described.flush(spoken("m", {"segments": ["version"]}, process="new", minute=6))
    described.work()
    found = described.newest("m")
    assert (found.threshold, found.segments, found.task) == (0.7, ("version",), Task.CLASSIFICATION)
    described.flush(spoken("m", {"threshold": 0.9}, process="newer", minute=7))
    described.work()
    assert (described.newest("m").threshold, described.newest("m").segments) == (0.9, ())


NONSENSE: list[Any] = [
    None,
    ["task"],
    {"task": "clustering", "roles": "output.late", "features": ["age"], "segments": "plan"},
    {"roles": {"score": "output..x", "label": 5, "items": "inputs.age"}, "features": {"age": {}, "x": 1}},
    {"threshold": "0.5", "label_delay": 1e300, "positive_class": True, "classes": {"a": 1}},
    {"threshold": float("nan"), "label_delay": -1, "segments": ["plan", 5, "inputs."]},
    {"threshold": 0.25, "padding": "x" * (1 << 20)},
]


def test_what_a_file_overrides_is_kept_for_when_it_is_gone(described: Described) -> None:
    """A process may say all that a file says, otherwise: without the file, later, its word counts."""
    described.files["m"] = ModelDescription(threshold=0.8)
    described.flush(calls("m"))
    described.work()
    described.flush(spoken("m", {"threshold": 0.3}))
    described.work()
    assert described.newest("m").threshold == 0.8
    described.flush(spoken("other", {"threshold": 0.1}))  # what was heard up to here is not read again
    described.work()
    before = len(described.rows())
    described.restart()
    described.work()
    assert len(described.rows()) == before
    described.files.clear()
    described.restart()
    described.work()
    newest = described.newest("m")
    assert (newest.threshold, newest.sources["threshold"]) == (0.3, "sdk")


def test_what_makes_no_sense_is_passed_over(described: Described) -> None:
    """Anybody may send such records: what is wrong in one changes nothing."""
    described.flush(calls("m"))
    described.work()
    for minute, body in enumerate(NONSENSE):
        described.flush(spoken("m", body, process=str(minute), minute=minute))
        described.work()
    described.flush(predictions("m", [{"inputs.new": 1}]))
    described.work()
    (_, _, before), (_, _, after) = described.rows()
    assert set(after.features) - set(before.features) == {"inputs.new"}
    assert set(after.sources.values()) == {Source.INFERRED}
    assert (after.task, after.threshold, after.score) == (before.task, before.threshold, before.score)


def test_values_tell_what_types_do_not(described: Described) -> None:
    """Once there are enough rows, classes, sentences, times and the delay of labels are found."""
    rows = [
        {
            "prediction_id": str(n),
            "time": START + timedelta(minutes=n),
            "inputs.at": f"2026-01-{n % 28 + 1:02}T10:00:00Z",
            "inputs.plan": ("free", "pro")[n % 2],
            "inputs.letter": f"dear shop the parcel number {n} is late",
            "output.value": ("no", "yes")[n % 2],
        }
        for n in range(120)
    ]
    told = [
        {
            "prediction_id": str(n),
            "prediction_time": START + timedelta(minutes=n) if n % 2 else None,
            "time": START + timedelta(minutes=n, hours=n),
            "label": "no",
        }
        for n in range(120)
    ]
    described.flush(predictions("m", rows[:50]))
    described.work()
    assert described.newest("m").classes == ()
    described.flush(predictions("m", rows[50:]))
    described.flush(labels("m", told))
    described.work()
    found = described.newest("m")
    assert (found.classes, found.positive_class) == (("no", "yes"), "yes")
    assert found.label_delay == timedelta(seconds=410_000)  # 113.05 hours, to two digits
    assert {name: each.type for name, each in found.features.items()} == {
        "inputs.at": "time",
        "inputs.plan": "category",
        "inputs.letter": "text",
    }
    described.restart()
    described.work()
    described.flush(predictions("m", rows[:1]))
    described.work()
    assert described.newest("m") == found


def test_a_commit_that_fails_is_made_good(described: Described) -> None:
    """What could not be written is written at the next try."""
    described.flush(calls("m"))
    make_flaky(described.lake, "COMMIT", takes_place=False)
    with pytest.raises(duckdb.Error):
        described.work()
    described.work()
    assert [model for model, _, _ in described.rows()] == ["m"]


def test_a_commit_that_fails_is_made_good_for_models_without_rows(described: Described) -> None:
    """A model of which a process only spoke, and said nothing new, does not stand in the way of others."""
    described.flush(spoken("m", {"threshold": 0.7}))
    described.work()
    described.flush(
        spoken("m", {"threshold": 0.7, "padding": "x"}, minute=1), spoken("n", {"threshold": 0.6})
    )
    make_flaky(described.lake, "COMMIT", takes_place=False)
    with pytest.raises(duckdb.Error):
        described.work()
    described.work()
    assert [model for model, _, _ in described.rows()] == ["m", "n"]


def test_what_processes_said_is_heard_after_a_crash_between_two_commits(described: Described) -> None:
    """Records count as read once all models that they speak of are kept."""
    names = [f"m{number}" for number in range(101)]
    described.flush(*(spoken(name, {"threshold": 0.7}) for name in names))
    assert described.duty.work()  # one commit; one model is left
    assert len(described.rows()) < len(names)
    described.restart()
    described.work()
    assert {model for model, _, _ in described.rows()} == set(names)


def test_what_another_version_kept_is_made_anew(described: Described) -> None:
    """A description that stands on what this version cannot read is made of what there is."""
    described.flush(calls("m"))
    described.work()
    expected = described.newest("m")
    row = {"model": "m", "table_name": "m", "described_at": datetime(2026, 1, 3), "description": "{}"}
    row |= {"said": '{"by": "somebody"}', "facts": '{"seen": []}', "logs_seen": 0}
    described.lake.add_rows({"model_descriptions": pa.Table.from_pylist([row])})
    described.restart()
    described.work()
    assert described.newest("m") == expected
