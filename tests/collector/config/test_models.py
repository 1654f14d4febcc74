"""Files that describe models."""

from datetime import timedelta
from pathlib import Path

import pytest

from lapwing_collector.config import load_model, merge_models
from lapwing_collector.errors import ConfigError
from lapwing_collector.lake import declared_type
from lapwing_collector.model.description import Feature, FeatureType, ModelDescription, Source, Task

INVALID = Path(__file__).parents[2] / "data" / "invalid" / "models"
EXPECTED = "# expected: "
FULL = """
model: churn
task: classification
prediction: output.leaves
score: output.p
scores: output.scores
label: label.left
positive_class: true
classes: [true, false]
threshold: 1
label_delay: 30d
features:
  inputs.age: {type: number, importance: 2}
  inputs.letter: text
  output.vector: {type: embedding}
segments: [inputs.plan, tags.region, version]
types: {inputs.zip: varchar, label.left: BOOLEAN}
references: {lately: {rolling: 28d}, week: {same_hours: 4w, role: conditions}}
"""


def test_every_key_reaches_the_description() -> None:
    """What a file says is what the description has, each value marked as the file's."""
    model, said = load_model(FULL, "churn.yaml", declared_type)
    assert model == "churn"
    assert (said.task, said.prediction, said.score) == (Task.CLASSIFICATION, "output.leaves", "output.p")
    assert (said.scores, said.label, said.items) == ("output.scores", "label.left", None)
    assert (said.positive_class, said.classes, said.threshold) == ("true", ("true", "false"), 1.0)
    assert said.label_delay == timedelta(days=30)
    assert said.features == {
        "inputs.age": Feature(FeatureType.NUMBER, 2.0),
        "inputs.letter": Feature(FeatureType.TEXT),
        "output.vector": Feature(FeatureType.EMBEDDING),
    }
    assert said.segments == ("inputs.plan", "tags.region", "version")
    assert said.types == {"inputs.zip": "varchar", "label.left": "BOOLEAN"}
    assert said.references == {
        "lately": {"kind": "rolling", "seconds": 28 * 86_400, "role": "drift"},
        "week": {"kind": "same_hours", "seconds": 28 * 86_400, "role": "conditions"},
    }
    assert said.sources["features.inputs.letter.type"] is Source.FILE
    assert set(said.sources.values()) == {Source.FILE}


def test_a_name_is_enough() -> None:
    """All that a file does not say is left to be told or inferred."""
    assert load_model("model: churn", "churn.yaml") == ("churn", ModelDescription())


@pytest.mark.parametrize("path", sorted(INVALID.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_wrong_file_is_refused_with_all_its_mistakes(path: Path) -> None:
    """Each mistake is told with line, key and what was expected; the file itself says which lines."""
    text = path.read_text()
    expected = [line.removeprefix(EXPECTED) for line in text.splitlines() if line.startswith(EXPECTED)]
    with pytest.raises(ConfigError) as error:
        load_model(text, "m.yaml", declared_type)
    assert sorted(str(error.value).splitlines()) == sorted(f"m.yaml:{line}" for line in expected)


def test_two_files_may_not_describe_the_same_model() -> None:
    """Nobody could say which of them counts."""
    with pytest.raises(ConfigError, match=r"^b\.yaml: the model churn is described in a\.yaml too"):
        merge_models({"a.yaml": load_model("model: churn", "a"), "b.yaml": load_model("model: churn", "b")})
