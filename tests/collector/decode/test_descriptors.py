"""Descriptors of texts: beside the text or in its place, and the numbers that metrics of texts give."""

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.batches import labels, predictions
from helpers.metrics import Measured
from lapwing_collector.decode import describe_texts
from lapwing_collector.model.records import Batch, DecodedGroup

LETTER = ("inputs", "letter")
SQL = (
    "SELECT length(x)::BIGINT AS length, len(lapwing_words(x))::BIGINT AS words, "
    "lapwing_sentences(x)::BIGINT AS sentences, lapwing_non_letters(x) AS non_letter_share "
    "FROM (SELECT unnest($texts) AS x)"
)


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    made = Measured()
    yield made
    made.close()


def described(batch: Batch, *, keep: bool = True) -> Batch:
    (found,) = describe_texts(DecodedGroup((batch,), ()), {"m": {LETTER: keep}}).batches
    return found


def columns(batch: Batch) -> dict[str, list[object]]:
    return {".".join(column.path): column.values.to_pylist() for column in batch.fields}


def test_numbers_stand_beside_the_text() -> None:
    """A text has its length, words, sentences and share of other characters; what is no text has none."""
    texts = ["It works. Really? 3.5 times!", "", None, "没有。很好\uff01"]
    batch = predictions("m", [{"inputs.letter": text, "inputs.age": 1} for text in texts])
    found = described(batch)
    assert columns(found) == columns(batch) | {
        "descriptors.inputs.letter.length": [28, 0, None, 6],
        "descriptors.inputs.letter.words": [6, 0, None, 2],
        "descriptors.inputs.letter.sentences": [3, 0, None, 2],
        "descriptors.inputs.letter.non_letter_share": [6 / 28, None, None, 2 / 6],
    }
    assert found.rows is batch.rows
    assert {str(column.values.type) for column in found.fields[2:]} == {"int64", "double"}


def test_a_text_need_not_be_kept() -> None:
    """Whatever comes in its place goes as well, and what stands beside it stays."""
    rows = [
        {"inputs.letter": "a b", "inputs.age": 1},
        {"inputs.letter": 7, "inputs.letters": "c"},
        {"inputs.letter.inside": "d"},
    ]
    found = columns(described(predictions("m", rows), keep=False))
    assert set(found) == {
        "inputs.age",
        "inputs.letters",
        *(f"descriptors.inputs.letter.{name}" for name in ("length", "words", "sentences")),
        "descriptors.inputs.letter.non_letter_share",
    }
    assert found["descriptors.inputs.letter.words"] == [2, None, None]


def test_others_stay_as_they_are() -> None:
    """Labels, other models, and predictions without the field are not touched."""
    batches = (
        labels("m", [{"label": "a b"}]),
        predictions("other", [{"inputs.letter": "a b"}]),
        predictions("m", [{"inputs.age": 1}]),
    )
    found = describe_texts(DecodedGroup(batches, ()), {"m": {LETTER: False}}).batches
    assert [columns(batch) for batch in found] == [columns(batch) for batch in batches]


@settings(max_examples=5, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=10, max_size=40))
def test_metrics_say_the_same(measured: Measured, texts: list[str]) -> None:
    """The library of metrics counts words and sentences of a text as its descriptors do."""
    batch = described(predictions("m", [{"inputs.letter": text} for text in texts]))
    found = {column.path[-1]: column.values for column in batch.fields if column.path[0] == "descriptors"}
    assert pa.table(found).to_pylist() == measured.rows(SQL, texts=texts)
