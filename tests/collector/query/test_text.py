"""Metrics of texts: what they are like against Python's own functions, and whether they drift."""

import math
import random
import re
import sys
import unicodedata
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from helpers.metrics import START, Measured

DAY = timedelta(days=1)
SPANS = {"a": START, "b": START + DAY, "c": START + 2 * DAY}
LATER = {"b": SPANS["b"], "c": SPANS["c"]}
SEEN, NOW = 300, 240
TEXTS = [
    "It works. Really? Yes!",
    "Version 3.5 is here... and it\u2019s good",
    "don't 42% 💥",
    "Straße, naïve, Ελλάδα и हिन्दी",
    "没有。很好\uff01",
    "",
    "   ",
    "?!",
    None,
]


def texts(count: int, words: list[str], seed: int) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(words, k=chance.randint(3, 9))) for _ in range(count)]


COMMON = [f"word{i}" for i in range(30)]
SIDES = {
    "same": (texts(SEEN, COMMON, 1), texts(NOW, COMMON, 2)),
    "moved": (
        texts(SEEN, [*COMMON, *["delivery"] * 4], 3),
        texts(NOW, [*COMMON, *["refund"] * 4], 4),
    ),
    "odd": (TEXTS * (SEEN // 9) + [None] * (SEEN % 9), TEXTS * (NOW // 9) + [None] * (NOW % 9)),
    "empty": ([""] * SEEN, [""] * NOW),
    "signs": (["?!"] * SEEN, ["..."] * NOW),
}


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    made = Measured()
    times = [START + i * DAY / SEEN for i in range(SEEN)] + [START + DAY + i * DAY / NOW for i in range(NOW)]
    columns = {f"inputs.{name}": pa.array(seen + now, pa.string()) for name, (seen, now) in SIDES.items()}
    columns["inputs.half"] = pa.array([i % 2 == 0 for i in range(SEEN + NOW)])
    columns["weight"] = pa.array([float(1 + i % 3) for i in range(SEEN + NOW)])
    made.put("m", pa.table({"time": pa.array(times, pa.timestamp("us"))} | columns))
    yield made
    made.close()


def is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] == "L"


def words(text: str) -> list[str]:
    """Letters and digits, with marks and apostrophes in between."""
    found, at = [], 0
    while at < len(text):
        if unicodedata.category(text[at])[0] not in "LN":
            at += 1
            continue
        end = at + 1
        while end < len(text) and (unicodedata.category(text[end])[0] in "LMN" or text[end] in "'\u2019"):
            end += 1
        found.append(text[at:end].lower())
        at = end
    return found


def sentences(text: str) -> int:
    parts = re.split(r"[.!?…]+(?![^\W_]|[.!?…])|[。\uff01\uff1f]", text)
    return sum(any(unicodedata.category(each)[0] in "LN" for each in part) for part in parts)


def non_letters(text: str) -> float | None:
    counted = sum(unicodedata.category(each)[0] not in "LMZ" and each not in "\t\n\f\r" for each in text)
    return counted / len(text) if text else None


DESCRIPTORS = {
    "text_length": len,
    "text_words": lambda text: len(words(text)),
    "text_sentences": sentences,
    "text_non_letter_share": non_letters,
}


def mean(values: list[float | None], weights: list[float]) -> float:
    kept = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    return sum(value * weight for value, weight in kept) / sum(weight for _, weight in kept)


@pytest.mark.parametrize("metric", DESCRIPTORS)
@pytest.mark.parametrize("field", ["moved", "odd"])
def test_what_texts_are_like(measured: Measured, metric: str, field: str) -> None:
    """Each is the weighted mean of what Python says of every text, and a missing text does not count."""
    values = [None if text is None else DESCRIPTORS[metric](text) for text in SIDES[field][1]]
    weights = [float(1 + i % 3) for i in range(SEEN, SEEN + NOW)]
    found = measured.row(f"FROM {metric}('m', $b, $c, inputs.{field})", **LATER)
    assert found["value"] == pytest.approx(mean(values, weights))
    assert found["sample_count"] == sum(value is not None for value in values)
    assert 0 <= found["low"] <= found["value"] <= found["high"]
    doubled = measured.row(f"FROM {metric}('m', $b, $c, inputs.{field}, weights := 1 / weight)", **LATER)
    assert doubled["value"] == pytest.approx(mean(values, [1.0] * NOW))


CHARACTERS = st.characters(max_codepoint=0x52F, exclude_categories=["Cs", "Cn"]) | st.sampled_from(
    " .!?\u2026\u2019"
)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.text(CHARACTERS, max_size=30), min_size=20, max_size=60))
def test_any_text_can_be_described(measured: Measured, texts: list[str]) -> None:
    """No character makes it fail, and the counts are those of Python."""
    sql = (
        "SELECT lapwing_non_letters(x) AS share, len(lapwing_words(x)) AS words, length(x) AS length, "
        "lapwing_sentences(x) AS sentences FROM (SELECT unnest($texts) AS x)"
    )
    for text, found in zip(texts, measured.rows(sql, texts=texts), strict=True):
        assert (found["words"], found["sentences"]) == (len(words(text)), sentences(text))
        assert (found["length"], found["share"]) == (len(text), non_letters(text))


@pytest.mark.parametrize("text", [text for text in TEXTS if text is not None])
def test_words_of_all_scripts(measured: Measured, text: str) -> None:
    """Words are letters of any script, digits, and what is within them."""
    found = measured.row("SELECT lapwing_words($text) AS words", text=text)["words"]
    assert found == words(text)


def test_words_that_are_unknown(measured: Measured) -> None:
    """It is the mean share per text, of words that no text of the other span has."""
    known = {word for text in SIDES["moved"][0] for word in words(text)}
    shares = [sum(word not in known for word in words(text)) / len(words(text)) for text in SIDES["moved"][1]]
    weights = [float(1 + i % 3) for i in range(SEEN, SEEN + NOW)]
    found = measured.row("FROM unknown_word_share('m', $b, $c, inputs.moved, $a, $b)", **SPANS)
    assert found["value"] == pytest.approx(mean(list(shares), weights))
    assert found["value"] > 0
    same = measured.row("FROM unknown_word_share('m', $b, $c, inputs.odd, $a, $b)", **SPANS)
    assert (same["value"], same["sample_count"]) == (0, sum(bool(words(t or "")) for t in SIDES["odd"][1]))
    none = measured.row("FROM unknown_word_share('m', $b, $c, inputs.moved, $a, $a)", **SPANS)
    assert (none["value"], none["sample_count"]) == (None, 0)


def test_words_that_are_looked_for(measured: Measured) -> None:
    """Whole words count, in whatever letters, and each text once."""
    sought = {"REFUND", "word1"}
    hits = sum(bool({word.lower() for word in sought} & set(words(text))) for text in SIDES["moved"][1])
    sql = "FROM trigger_word_share('m', $b, $c, inputs.moved, ['REFUND', 'word1'])"
    found = measured.row(sql, **LATER)
    assert (found["value"], found["sample_count"]) == (hits / NOW, NOW)
    assert found["low"] < found["value"] < found["high"]
    part = measured.row("FROM trigger_word_share('m', $b, $c, inputs.moved, ['refun'])", **LATER)
    assert part["value"] == 0
    rows = measured.rows(
        "FROM trigger_word_share('m', $b, $c, inputs.odd, ['don''t'], segments := {'half': inputs.half})",
        **LATER,
    )
    assert [row["half"] for row in rows] == [False, True]
    assert sum(row["sample_count"] for row in rows) == sum(text is not None for text in SIDES["odd"][1])


def test_drift_of_texts(measured: Measured) -> None:
    """The area is near that of another classifier of scikit-learn; the bound is what chance gives."""
    seen, now = SIDES["moved"]
    truth = np.arange(SEEN + NOW) >= SEEN
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression())
    expected = roc_auc_score(truth, cross_val_predict(model, seen + now, truth, method="decision_function"))
    found = measured.row("FROM text_drift('m', $b, $c, inputs.moved, $a, $b)", **SPANS)
    assert found["value"] == pytest.approx(expected, abs=0.05)
    error = math.sqrt((150 + 120 + 1) / (12 * 150 * 120))
    assert found["threshold"] == pytest.approx(0.5 + 1.645 * error, abs=0.012)
    assert (found["drifted"], found["p_value"], found["reason"]) == (1, 0.001, None)
    assert (found["sample_count"], found["reference_count"], found["sampled"]) == (NOW, SEEN, NOW)
    same = measured.row("FROM text_drift('m', $b, $c, inputs.same, $a, $b)", **SPANS)
    assert (same["drifted"], same["p_value"] > 0.05) == (0, True)
    assert measured.row("FROM text_drift('m', $b, $c, inputs.moved, $a, $b)", **SPANS) == found
    few = measured.row("FROM text_drift('m', $b, $c, inputs.moved, $a, $b, samples := 120)", **SPANS)
    assert few["sampled"] == 120


def test_a_large_reference_has_a_fixed_bound(measured: Measured) -> None:
    """Above a thousand texts the area is held against 0.55, or against what is told."""
    made = {"time": [START + DAY * (i % 2) for i in range(2002)], "inputs.t": texts(2002, COMMON, 9)}
    measured.put("large", pa.table(made))
    sql = "FROM text_drift('large', $b, $c, inputs.t, $a, $b{})"
    assert measured.row(sql.format(""), **SPANS)["threshold"] == 0.55
    assert measured.row(sql.format(", samples := 1000"), **SPANS)["threshold"] != 0.55
    told = measured.row(sql.format(", threshold := 0.2"), **SPANS)
    assert (told["threshold"], told["drifted"]) == (0.2, 1)


def test_words_say_why_texts_drift(measured: Measured) -> None:
    """The words that one side has and the other has not come first, with how many texts have them."""
    rows = measured.rows("FROM text_drift_words('m', $b, $c, inputs.moved, $a, $b, k := 3)", **SPANS)
    assert [row["side"] for row in rows] == ["current"] * 3 + ["reference"] * 3
    assert (rows[0]["word"], rows[3]["word"]) == ("refund", "delivery")
    assert rows[0]["sample_share"] == pytest.approx(sum("refund" in t for t in SIDES["moved"][1]) / NOW)
    assert rows[3]["reference_share"] == pytest.approx(sum("delivery" in t for t in SIDES["moved"][0]) / SEEN)
    assert (rows[0]["reference_share"], rows[3]["sample_share"]) == (0, 0)
    assert rows[0]["value"] > rows[1]["value"] > rows[2]["value"] > 0


def test_examples_say_which_texts_drift(measured: Measured) -> None:
    """Texts that speak most for their side come first, by the ids of their predictions."""
    rows = measured.rows("FROM text_drift_examples('m', $b, $c, inputs.moved, $a, $b, k := 5)", **SPANS)
    every = SIDES["moved"][0] + SIDES["moved"][1]
    for row in rows:
        number = int(row["prediction_id"])
        assert ("refund" if row["side"] == "current" else "delivery") in every[number]
        assert (number >= SEEN) == (row["side"] == "current")
    assert [row["side"] for row in rows] == ["current"] * 5 + ["reference"] * 5
    assert rows[0]["value"] >= rows[4]["value"] > 0


@pytest.mark.parametrize(
    ("field", "more", "reason"),
    [
        ("same", ", min_rows := 241", "fewer than 241 rows"),
        ("same", ", min_rows := 301", "fewer than 301 rows in the reference"),
        ("empty", "", "the reference, or span, has no values to compare with here"),
        ("signs", "", "the texts have no words"),
    ],
)
def test_what_cannot_be_told_has_a_reason(measured: Measured, field: str, more: str, reason: str) -> None:
    """Too few texts, and texts without words, give NULL and say why; words and examples give no rows."""
    arguments = f"('m', $b, $c, inputs.{field}, $a, $b{more})"
    found = measured.row(f"FROM text_drift{arguments}", **SPANS)
    assert (found["value"], found["drifted"], found["reason"]) == (None, None, reason)
    for metric in ("text_drift_words", "text_drift_examples"):
        assert measured.rows(f"FROM {metric}{arguments}", **SPANS) == []


def test_a_missing_library_is_told(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scikit-learn there is no value, and it is said how to get it."""
    for name in [each for each in sys.modules if each.partition(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, name, None)
    found: dict[str, Any] = measured.row("FROM text_drift('m', $b, $c, inputs.moved, $a, $b)", **SPANS)
    assert (found["value"], found["reason"]) == (
        None,
        "scikit-learn is not installed: pip install 'lapwing[ml]'",
    )
