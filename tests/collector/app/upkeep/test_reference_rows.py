"""Rows of references: production is compared with their values, and they can be forgotten."""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from helpers.batches import START, predictions
from helpers.query_lake import session_over
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.app.upkeep.keeping import (
    compact,
    drop_reference_rows,
    erase,
    remove_reference,
    retain,
    set_reference,
)
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.errors import ConfigError, QueryError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.metrics import reference
from lapwing_collector.query import Session

WEEK = timedelta(days=7)
SEEN = 400
NOW = 300
SPAN = {"b": START + WEEK, "c": START + 2 * WEEK}
WORDS = {"seen": ["good", "fine", "well", "nice"], "now": ["refund", "late", "broken", "well"]}


def values(rows: int, shift: float, words: list[str]) -> dict[str, list[Any]]:
    """Numbers with ties, nulls and an infinity, categories, texts and vectors."""
    draw = np.random.default_rng(rows)
    x = draw.normal(shift, 1, rows).tolist()
    x[:3] = [None, float("inf"), float("nan")]
    return {
        "x": x,
        "tied": draw.integers(0, 30, rows).astype(float).tolist(),
        "plan": draw.choice(["a", "b", "c"], rows, p=[0.5 - shift, 0.3, 0.2 + shift]).tolist(),
        "flag": (draw.random(rows) < 0.3 + shift).tolist(),
        "text": [" ".join(each) for each in draw.choice(words, (rows, 6)).tolist()],
        "vector": draw.normal(shift, 1, (rows, 4)).tolist(),
    }


FRAME = values(SEEN, 0.0, WORDS["seen"])
SENT = values(NOW, 0.25, WORDS["now"])


def rows_of(columns: Mapping[str, list[Any]], start: Any, first: int) -> list[dict[str, Any]]:
    count = len(next(iter(columns.values())))
    return [
        {
            "prediction_id": f"p{first + n}",
            "time": start + timedelta(minutes=n),
            "tags": [("region", "north" if n % 3 else "south")],
            **{f"inputs.{name}": column[n] for name, column in columns.items()},
        }
        for n in range(count)
    ]


Fill = Callable[[Path], object]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Fill:
    """Fills a folder that has no lake, with one that is written once."""
    made = tmp_path_factory.mktemp("filled")
    write_two_weeks(made)
    return lambda folder: shutil.copytree(made, folder, dirs_exist_ok=True)


def write_two_weeks(folder: Path) -> None:
    lake = Lake.open(folder / "lake", profiling=PROFILING)
    lake.flush([predictions("m", rows_of(FRAME, START, 0))], [], Progress(1, 0))
    lake.flush([predictions("m", rows_of(SENT, START + WEEK, 10_000))], [], Progress(2, 0))
    lake.close()


def keep(data: Path, name: str, **options: Any) -> Mapping[str, Any]:
    return set_reference(None, {"data": data}, tell_nobody, model="m", name=name, **options)


Ask = Callable[..., list[dict[str, Any]]]


@contextmanager
def asking(data: Path) -> Iterator[Ask]:
    with closing(Session.open(data / "lake")) as session:
        yield lambda sql, **parameters: session.run(sql, parameters).to_pylist()


def ask(data: Path, sql: str, **parameters: Any) -> list[dict[str, Any]]:
    with asking(data) as run:
        return run(sql, **parameters)


@pytest.fixture(scope="module")
def data(filled: Fill, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two weeks of predictions; the first is a reference as a table and as a window."""
    folder = tmp_path_factory.mktemp("rows")
    filled(folder)
    window = (START.isoformat(), (START + WEEK).isoformat())
    assert keep(folder, "past", window=window)["rows_kept"] == SEEN
    assert keep(folder, "bare", rows=pa.table(FRAME), keeps_rows=False)["rows_kept"] == 0
    assert keep(folder, "lately", policy={"kind": "rolling", "seconds": 3600})["rows_kept"] == 0
    table = pa.table({**FRAME, "tags.region": ["north"] * SEEN, "time": [START] * SEEN})
    done = keep(folder, "train", rows=table)
    assert (done["rows_kept"], done["warnings"]) == (SEEN, [])
    return folder


@pytest.fixture(scope="module")
def session(data: Path) -> Iterator[Session]:
    with session_over(data / "lake") as opened:
        yield opened


def finite(name: str) -> tuple[Any, Any]:
    sides = (np.array([np.nan if v is None else v for v in frame[name]]) for frame in (FRAME, SENT))
    first, second = (side[np.isfinite(side)] for side in sides)
    return first, second


def row(session: Session, sql: str) -> dict[str, Any]:
    (found,) = session.run(sql, SPAN).to_pylist()
    return found


NUMBERS = {
    "ks_test": stats.ks_2samp,
    "mann_whitney": stats.mannwhitneyu,
    "epps_singleton": stats.epps_singleton_2samp,
    "anderson_darling": lambda r, c: stats.anderson_ksamp([r, c], variant="midrank"),
    "cramer_von_mises": stats.cramervonmises_2samp,
    "t_test": lambda r, c: stats.ttest_ind(c, r),
}


@pytest.mark.filterwarnings("ignore:p-value:UserWarning")
@pytest.mark.parametrize("field", ["x", "tied"])
def test_numbers_are_compared_with_the_rows_of_a_reference(session: Session, field: str) -> None:
    """Every test and distance of values is scipy's over the values of the table that the reference was."""
    seen, now = finite(field)
    for metric, oracle in NUMBERS.items():
        found = row(session, f"FROM {metric}('m', $b, $c, inputs.{field}, reference := 'train')")
        expected = oracle(seen, now)
        assert found["statistic"] == pytest.approx(expected.statistic, rel=1e-9), metric
        assert found["value"] == pytest.approx(expected.pvalue, rel=1e-6), metric
        assert (found["reference"], found["reason"]) == ("train", None)
        assert (found["reference_count"], found["sample_count"]) == (len(seen), len(now))
    found = row(session, f"FROM wasserstein('m', $b, $c, inputs.{field}, reference := 'train')")
    assert found["value"] == pytest.approx(stats.wasserstein_distance(seen, now) / np.std(seen))
    found = row(session, f"FROM energy_distance('m', $b, $c, inputs.{field}, reference := 'train')")
    assert found["value"] == pytest.approx(stats.energy_distance(seen, now))


def test_categories_are_compared_with_the_rows_of_a_reference(session: Session) -> None:
    """Chi squared of three categories and Fisher's test of two are scipy's."""
    counts = [[side["plan"].count(each) for each in "abc"] for side in (FRAME, SENT)]
    found = row(session, "FROM chi2_rows('m', $b, $c, inputs.plan, reference := 'train')")
    assert found["value"] == pytest.approx(stats.chi2_contingency(counts, correction=False).pvalue)
    pairs = [[side["flag"].count(each) for each in (False, True)] for side in (FRAME, SENT)]
    found = row(session, "FROM fisher_exact('m', $b, $c, inputs.flag, reference := 'train')")
    assert found["value"] == pytest.approx(stats.fisher_exact(pairs).pvalue)


METHODS = [
    *(f"{name}('m', $b, $c, inputs.x{{}})" for name in (*NUMBERS, "empirical_mmd", "wasserstein")),
    *(f"{name}('m', $b, $c, inputs.x{{}})" for name in ("energy_distance", "psi_rows", "hellinger_rows")),
    *(f"{name}('m', $b, $c, inputs.plan{{}})" for name in ("js_distance_rows", "kl_divergence_rows")),
    *(f"{name}('m', $b, $c, inputs.plan{{}})" for name in ("g_test_rows", "total_variation_rows")),
    "z_test('m', $b, $c, inputs.flag{})",
    "text_drift('m', $b, $c, inputs.text{})",
    "text_drift_words('m', $b, $c, inputs.text{}, k := 3)",
    "unknown_word_share('m', $b, $c, inputs.text{})",
    *(
        f"embedding_drift('m', $b, $c, inputs.vector{{}}, method := '{name}')"
        for name in ("classifier", "euclidean", "cosine", "components", "mmd")
    ),
    "ks_test('m', $b, $c, ln(abs(inputs.x) + 1){}, segments := {{'region': tags['region']}})",
]


@pytest.mark.filterwarnings("ignore:p-value:UserWarning")
@pytest.mark.parametrize("call", METHODS, ids=[each.partition("(")[0] for each in METHODS])
def test_a_reference_of_a_window_says_what_the_window_says(session: Session, call: str) -> None:
    """By every method that looks at values: the same rows are drawn of both, in each segment."""
    span = ", reference_since := TIMESTAMP '2026-01-01', reference_until := TIMESTAMP '2026-01-08'"
    by_name = session.run(f"FROM {call.format(', reference := ' + repr('past'))}", SPAN).to_pylist()
    by_span = session.run(f"FROM {call.format(span)}", SPAN).to_pylist()
    named = {each.pop("reference", "past") for each in by_name}
    assert {each.pop("reference", None) for each in by_span} == {None}
    assert named == {"past"}
    assert len(by_name) == len(by_span) > 0
    for one, other in zip(by_name, by_span, strict=True):
        assert one.keys() == other.keys()
        assert one["value"] is not None
        for name, value in one.items():
            assert value == (pytest.approx(other[name]) if isinstance(value, float) else other[name]), name


def test_without_a_name_it_is_the_newest_that_has_rows(session: Session) -> None:
    """Of the role drift; what has none, or is a choice of profiles, says so where it is named."""
    assert row(session, "FROM ks_test('m', $b, $c, inputs.x)")["reference"] == "train"
    for name, said in (("bare", "no rows are kept"), ("lately", "a choice of profiles"), ("tain", "train")):
        with pytest.raises(QueryError, match=said):
            session.run(f"FROM ks_test('m', $b, $c, inputs.x, reference := '{name}')", SPAN)
    assert row(session, "FROM psi('m', $b, $c, reference := 'bare', fields := 'inputs.x')")["value"] > 0


def test_segments_that_the_reference_lacks_have_a_reason(session: Session) -> None:
    """Its rows are all from the north."""
    sql = "FROM ks_test('m', $b, $c, inputs.x, segments := {'region': tags['region']}, reference := 'train')"
    found = {each["region"]: each for each in session.run(sql, SPAN).to_pylist()}
    assert found["north"]["reference_count"] == len(finite("x")[0])
    assert (found["south"]["value"], found["south"]["reference_count"]) == (None, 0)
    assert "no values to compare with" in found["south"]["reason"]


def test_rows_can_be_read(session: Session) -> None:
    """In a table of the model's own, beside what they are of; they have the fields that the model has."""
    found = session.run(
        "SELECT row_number, inputs.x AS x, inputs.vector AS v, tags['region'] AS region, prediction_id "
        "FROM reference_rows.m WHERE reference = 'train' ORDER BY 1"
    ).to_pylist()
    assert [each["row_number"] for each in found] == list(range(SEEN))
    assert found[7]["x"] == FRAME["x"][7]
    assert found[7]["v"] == pytest.approx(FRAME["vector"][7], rel=1e-6)
    assert {each["region"] for each in found} == {"north"}
    assert {each["prediction_id"] for each in found} == {None}


def test_as_many_rows_are_kept_as_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ones of the same file each time; counts are of all, and only the newest version has rows."""
    monkeypatch.setattr(reference, "MOST_KEPT", 50)
    table = pa.table({"x": [float(n) for n in range(1000)]})
    sql = "SELECT reference_version AS v, list(row_number ORDER BY row_number) AS n FROM reference_rows.m"
    drawn = []
    for version in (1, 2):
        assert keep(tmp_path, "train", rows=table)["rows_kept"] == 50
        (found,) = ask(tmp_path, f"{sql} GROUP BY 1")
        assert found["v"] == version
        drawn.append(found["n"])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 50
    assert max(np.diff([0, *drawn[0], 999])) < 150, "they are from everywhere in the file"
    sets = ask(tmp_path, "SELECT version, has_rows, sample_count FROM reference_sets ORDER BY 1")
    assert [tuple(each.values()) for each in sets] == [(1, False, 1000), (2, True, 1000)]
    monkeypatch.setattr(reference, "MOST_KEPT_BYTES", 80)
    assert keep(tmp_path, "train", rows=table)["rows_kept"] < 50


def test_rows_can_be_forgotten(filled: Fill, tmp_path: Path) -> None:
    """Counts stay, whoever needs values is told; what is removed takes its rows with it."""
    filled(tmp_path)
    for name in ("train", "other"):
        keep(tmp_path, name, rows=pa.table(FRAME))
    done = drop_reference_rows(None, {"data": tmp_path}, tell_nobody, model="m", name="train", version=None)
    assert done == {"versions": [1], "rows": SEEN}
    left = "SELECT reference, count(*) AS n FROM reference_rows.m GROUP BY 1"
    assert ask(tmp_path, left) == [{"reference": "other", "n": SEEN}]
    sets = ask(tmp_path, "SELECT reference, has_rows, source FROM reference_sets ORDER BY 1")
    assert [tuple(each.values()) for each in sets] == [
        ("other", True, "a table"),
        ("train", False, "a table"),
    ]
    counted = "FROM psi('m', $b, $c, reference := 'train', fields := 'inputs.x')"
    assert ask(tmp_path, counted, **SPAN)[0]["value"] > 0
    with pytest.raises(QueryError, match="no rows are kept"):
        ask(tmp_path, "FROM ks_test('m', $b, $c, inputs.x, reference := 'train')", **SPAN)
    remove_reference(None, {"data": tmp_path}, tell_nobody, model="m", name="other", version=None)
    assert ask(tmp_path, left) == []


def test_neither_merging_nor_retention_takes_rows_away(filled: Fill, tmp_path: Path) -> None:
    """They are what old predictions are compared with, however old."""
    filled(tmp_path)
    for name in ("one", "two", "three"):
        keep(tmp_path, name, rows=pa.table({**FRAME, "time": [START] * SEEN}))
    assert compact(None, {"data": tmp_path}, tell_nobody)["files_merged"] > 0
    retain(None, {"data": tmp_path, "retention.keep": "1d"}, tell_nobody)
    found = ask(tmp_path, "SELECT reference, count(*) AS n FROM reference_rows.m GROUP BY 1 ORDER BY 1")
    assert found == [{"reference": name, "n": SEEN} for name in ("one", "three", "two")]
    assert ask(tmp_path, "SELECT count(*) AS n FROM predictions.m")[0]["n"] < SEEN + NOW


def test_an_erasure_reaches_them(filled: Fill, tmp_path: Path) -> None:
    """By the id of the prediction that they were, or by a value, whichever columns the file had."""
    filled(tmp_path)
    window = (START.isoformat(), (START + WEEK).isoformat())
    keep(tmp_path, "past", window=window)
    keep(
        tmp_path,
        "train",
        rows=pa.table({"x": [1.0, 2.0], "customer": ["u-1", "u-2"], "prediction_id": ["p5", None]}),
    )
    lake = Lake.open(tmp_path / "lake", profiling=PROFILING)
    more = [{"prediction_id": "q", "inputs.customer": "u-2", "inputs.x": 0.5, "time": START + WEEK}]
    lake.flush([predictions("m", more)], [], Progress(3, 0))
    lake.close()
    flags = {"data": tmp_path}
    for ids, where, gone in (
        (["p5"], [], 2),
        ([], ["inputs.customer=u-2"], 1),
        ([], ["tags.region=south"], 134),
    ):
        done = erase(None, flags, tell_nobody, table="m", ids=ids, request_ids=[], where=where)
        assert done["reference_rows"] == gone
        assert [each for each in done["remaining"] if "rows of" in each] == []
    assert ask(tmp_path, "SELECT sum(reference_rows)::INT AS n FROM erasures")[0]["n"] == 137
    left = ask(tmp_path, "SELECT count(*) AS n FROM reference_rows.m")
    assert left[0]["n"] == SEEN + 2 - 137


def test_an_erasure_knows_a_whole_number_in_either_type(tmp_path: Path) -> None:
    """Predictions brought 17 and the reference 17.0, or the reverse: whichever is asked for, both go."""
    keep(tmp_path, "train", rows=pa.table({"a": [17.0, 18.5, None], "b": [17, 18, 19]}))
    lake = Lake.open(tmp_path / "lake", profiling=PROFILING)
    sent = [{"prediction_id": str(n), "inputs.a": n, "inputs.b": n + 0.0} for n in (17, 18, 20)]
    lake.flush([predictions("m", sent)], [], Progress(1, 0))
    lake.close()
    for where, gone in (("inputs.a=17", (1, 1)), ("inputs.b=18.0", (1, 1)), ("inputs.a=2", (0, 0))):
        flags = {"data": tmp_path}
        done = erase(None, flags, tell_nobody, table="m", ids=[], request_ids=[], where=[where])
        assert (done["predictions"], done["reference_rows"]) == gone
        assert [each for each in done["remaining"] if "rows of" in each] == []
    assert ask(tmp_path, "SELECT inputs.b FROM reference_rows.m")[0]["b"] == 19


def test_types_that_differ_are_brought_together(tmp_path: Path) -> None:
    """A reference that came first may have other types than predictions: what is none of theirs is null."""
    keep(
        tmp_path,
        "train",
        rows=pa.table(
            {"x": [str(n) for n in range(99)] + ["many"], "deep": [{"y": 1}] * 100, "only": [1] * 100}
        ),
    )
    lake = Lake.open(tmp_path / "lake", profiling=PROFILING)
    sent = [{"prediction_id": str(n), "inputs.x": n + 0.5, "inputs.deep.z": 2} for n in range(100)]
    lake.flush([predictions("m", sent)], [], Progress(1, 0))
    lake.close()
    span = {"b": START, "c": START + WEEK}
    (found,) = ask(tmp_path, "FROM ks_test('m', $b, $c, inputs.x)", **span)
    assert (found["reference_count"], found["sample_count"]) == (99, 100)
    assert found["statistic"] == pytest.approx(stats.ks_2samp(np.arange(99), np.arange(100) + 0.5).statistic)
    (found,) = ask(tmp_path, "FROM ks_test('m', $b, $c, inputs.deep.z)", **span)
    assert (found["reference_count"], found["value"]) == (0, None)


def test_columns_are_spelled_as_ever(tmp_path: Path) -> None:
    """`PLAN` is `plan`, for counts and for values, and one odd spelling is in no other reference's way."""
    frame = {"x": FRAME["x"], "plan": FRAME["plan"], "text": FRAME["text"]}
    shouted = pa.table({name.upper(): column for name, column in frame.items()})
    keep(tmp_path, "first", rows=shouted)  # before any prediction
    write_two_weeks(tmp_path)
    for name, rows in (("shouted", shouted), ("spelled", pa.table(frame))):
        assert keep(tmp_path, name, rows=rows)["warnings"] == []
    counted = "SELECT count(value) AS n FROM drift('m', $b, $c, reference := '{}', fields := 'inputs.x')"
    with asking(tmp_path) as run:
        for metric, field in (("ks_test", "x"), ("chi2_rows", "plan"), ("chi2_rows", "text")):
            call = f"FROM {metric}('m', $b, $c, inputs.{field}, reference := '{{}}')"
            first, shout, spelled = (run(call.format(name), **SPAN)[0]["value"] for name in NAMES)
            assert first == shout == spelled is not None
        assert [run(counted.format(name), **SPAN)[0]["n"] for name in ("shouted", "spelled")] == [1, 1]


NAMES = ("first", "shouted", "spelled")


def test_fractions_are_compared_with_whole_numbers(tmp_path: Path) -> None:
    """Neither dropped nor rounded where predictions brought whole numbers only; as categories 1.0 is 1."""
    draw = np.random.default_rng(3)
    whole, seen = draw.integers(0, 6, 400), np.append(draw.random(150) * 6, draw.integers(0, 6, 250))
    lake = Lake.open(tmp_path / "lake", profiling=PROFILING)
    lake.flush([predictions("m", rows_of({"x": whole.tolist()}, START, 0))], [], Progress(1, 0))
    lake.close()
    for name, numbers in (("train", seen), ("whole", whole[:200]), ("floats", whole[:200].astype(float))):
        keep(tmp_path, name, rows=pa.table({"x": numbers}))
        call = f"('m', $b, $c, inputs.x, reference := '{name}', min_rows := 1)"
        (found,) = ask(tmp_path, f"FROM ks_test{call}", b=START, c=START + WEEK)
        expected = stats.ks_2samp(numbers, whole)
        assert (found["reference_count"], found["value"]) == (len(numbers), pytest.approx(expected.pvalue))
        if name == "train":
            continue
        (found,) = ask(tmp_path, f"FROM chi2_rows{call}", b=START, c=START + WEEK)
        counts = [np.bincount(side.astype(int), minlength=6) for side in (numbers, whole)]
        assert found["value"] == pytest.approx(stats.chi2_contingency(counts).pvalue)


def test_odd_columns_are_told(filled: Fill, tmp_path: Path) -> None:
    """A model that nobody knows, columns that it never sends, and those that it sends as something else."""
    assert keep(tmp_path, "train", rows=pa.table({"x": [1.0]}))["warnings"] == [
        "no prediction of a model 'm' has come yet"
    ]
    filled(tmp_path / "known")
    frame = pa.table({"x": ["a", "b"], "tied": [1, 2], "target": [1, 0], "label": [1, 0]})
    told = keep(tmp_path / "known", "train", rows=frame)["warnings"]
    assert [each.partition(":")[0] for each in told] == [
        "no prediction has brought inputs.target",
        "predictions bring another type of inputs.x (text, not number)",
    ]
    call = "SELECT field, drifted, value, reason, reference FROM drift('m', $b, $c, min_rows := 1)"
    verdicts = {each["field"]: each for each in ask(tmp_path / "known", call, **SPAN)}
    never = verdicts["inputs.target"]
    assert (never["drifted"], never["value"]) == (None, None)
    assert never["reason"] == "no prediction has ever brought this field"
    assert verdicts["inputs.tied"]["reference"] == "train"
    whole = "FROM dataset_drift('m', $b, $c, min_rows := 1)"
    assert ask(tmp_path / "known", whole, **SPAN)[0]["field_count"] == 2


@pytest.mark.parametrize(
    ("columns", "mistake"),
    [
        (["x", "y", "x"], "has two columns x: rename one, or leave it out"),
        (["x", "inputs.x"], "the columns x and inputs.x are both inputs.x: leave one out"),
    ],
)
def test_no_two_columns_are_one_field(filled: Fill, tmp_path: Path, columns: list[str], mistake: str) -> None:
    """A file with a column twice, or with two spellings of one field, is refused with what to do."""
    filled(tmp_path)
    rows = pa.Table.from_arrays([pa.array([1.0, 2.0])] * len(columns), names=columns)
    with pytest.raises(ConfigError, match=re.escape(mistake)):
        keep(tmp_path, "train", rows=rows)
