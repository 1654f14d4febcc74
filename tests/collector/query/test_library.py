"""The library of metrics: what its pieces compute, and how a session calls metrics over a lake."""

import hashlib
import random
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from statistics import NormalDist
from typing import Any

import duckdb
import pytest
from scipy.stats import binomtest

from helpers.batches import START, labels, predictions
from helpers.metrics import END, Measured
from helpers.query_lake import make_lake, readers
from lapwing_collector.errors import NotSeenYetError, QueryError, RefusedQueryError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.model.description import ModelDescription, Task
from lapwing_collector.query import Session, check_select, tables_in
from lapwing_collector.query.library import METRICS

COMMON = ["model", "since", "until", "segments", "every", "as_of", "stage", "weights", "confidence"]
SPAN = {"since": START, "until": START + timedelta(days=1)}


@pytest.fixture(scope="module")
def measured() -> Iterator[Measured]:
    made = Measured()
    yield made
    made.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lake(tmp_path_factory.mktemp("data") / "lake")


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[Session]:
    opened = Session.open(folder)
    yield opened
    opened.close()


def test_common_parameters_come_in_one_order() -> None:
    """Who knows how to call one metric knows how to call them all, and is told of what only one takes."""
    for name, metric in METRICS.items():
        given = [parameter.name for parameter in metric.parameters]
        assert given[:3] == COMMON[:3], name
        assert [each for each in given if each in COMMON] == [each for each in COMMON if each in given], name
        assert {each.name for each in metric.parameters if each.meaning} == set(given) - set(COMMON), name


def test_a_metric_says_what_it_is() -> None:
    """Every header is filled in, and its example is a query that may run."""
    parser = duckdb.connect()
    for name, metric in METRICS.items():
        assert metric.summary.endswith("."), name
        assert metric.formula, name
        assert name in metric.example
        check_select(parser, metric.example)


@pytest.mark.parametrize("p", [1e-300, 1e-13, 1e-8, 0.001, 0.0749, 0.075, 0.3, 0.5, 0.9, 0.975, 1 - 1e-9])
def test_quantiles_of_the_normal_distribution(measured: Measured, p: float) -> None:
    """They agree with Python's own to 14 digits."""
    found = measured.row(f"SELECT lapwing_normal_quantile({p!r}::DOUBLE) AS x")["x"]
    assert found == pytest.approx(NormalDist().inv_cdf(p), rel=1e-14, abs=1e-15)


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 40), (3, 10), (500, 1000), (999_999, 1_000_000)]
)
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_intervals_of_shares(measured: Measured, successes: int, n: int, confidence: float) -> None:
    """They are Wilson's, as scipy has them."""
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    found = measured.row(f"SELECT unnest(lapwing_wilson({successes}, {n}, {confidence}))")
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_an_interval_of_nothing_is_unknown(measured: Measured) -> None:
    """No rows, or no confidence asked for, give no bounds."""
    sql = "SELECT lapwing_wilson(0, 0, 0.95).low AS a, lapwing_wilson(3, 10, 0).high AS b"
    assert measured.row(sql) == {"a": None, "b": None}


def test_windows_tile_the_span(measured: Measured) -> None:
    """Windows begin with the span, months with themselves, and the first and last are cut where it is."""
    measured.put("tiled", [{"time": datetime(2026, month, 10), "output.value": 1} for month in (1, 2, 3)])
    sql = "FROM prediction_count('tiled', $since, $until, every := {}) SELECT window_start, window_end, value"
    span = {"since": datetime(2026, 1, 5), "until": datetime(2026, 3, 11)}
    days = measured.rows(sql.format("INTERVAL 7 DAYS"), **span)
    assert [(row["window_start"].day, row["window_end"].day) for row in days] == [(5, 12), (9, 16), (9, 11)]
    months = measured.rows(sql.format("INTERVAL 1 MONTH"), **span)
    assert [row["window_start"] for row in months] == [
        datetime(2026, 1, 5),
        datetime(2026, 2, 1),
        datetime(2026, 3, 1),
    ]
    assert [row["window_end"] for row in months] == [
        datetime(2026, 2, 1),
        datetime(2026, 3, 1),
        datetime(2026, 3, 11),
    ]
    assert [row["value"] for row in measured.rows(sql.format("NULL"), **span)] == [3.0]


@pytest.mark.parametrize(
    ("value", "label"), [(True, 1), (1, True), (1, 1.0), (1.0, 1), ("a", "a"), (0.0, False), (2, 2.0)]
)
def test_classes_are_the_same_whatever_type_they_came_as(
    measured: Measured, value: object, label: object
) -> None:
    """A class and its truth agree across booleans, integers and floats."""
    measured.put(
        "typed",
        [{"output.value": value}],
        [{"prediction_id": "0", "label": label}],
        ModelDescription(task=Task.CLASSIFICATION),
    )
    assert measured.row("FROM accuracy('typed', $since, $until)", **SPAN)["value"] == 1.0


def test_a_class_follows_from_its_score(measured: Measured) -> None:
    """Where only scores are logged, the threshold decides, and any other class is the negative one."""
    measured.put(
        "scored",
        [{"output.score": score} for score in (0.7, 0.69, 0.2, None)],
        [
            {"prediction_id": str(row), "label": text}
            for row, text in enumerate(["spam", "ham", "eggs", "spam"])
        ],
        ModelDescription(positive_class="spam", threshold=0.7),
    )
    row = measured.row("FROM accuracy('scored', $since, $until)", **SPAN)
    assert (row["value"], row["sample_count"], row["label_coverage"]) == (1.0, 3, 1.0)


def test_weights_count(measured: Measured) -> None:
    """A row counts by the weight that sampling gave it, times what the caller gives."""
    measured.put(
        "weighted",
        [
            {"output.value": "a", "weight": 3.0, "inputs.ltv": 1},
            {"output.value": "a", "weight": None, "inputs.ltv": 3},
        ],
        [{"prediction_id": "0", "label": "a"}, {"prediction_id": "1", "label": "b"}],
    )
    sql = "SELECT value FROM accuracy('weighted', $since, $until{})"
    assert measured.row(sql.format(""), **SPAN)["value"] == 0.75
    assert measured.row(sql.format(", weights := inputs.ltv"), **SPAN)["value"] == 0.5


def test_maturity_tells_which_labels_can_be_expected(measured: Measured) -> None:
    """It is the share of predictions older than the delay of labels, by the newest event or by `as_of`."""
    measured.put(
        "late",
        [{"time": START + timedelta(hours=hour), "output.value": 1} for hour in range(4)],
        [{"prediction_id": "0", "label": 1}],
        ModelDescription(label_delay=timedelta(hours=2)),
    )
    sql = "SELECT label_maturity FROM accuracy('late', $since, $until{})"
    assert measured.row(sql.format(""), **SPAN)["label_maturity"] == 0.5
    as_of = ", as_of := TIMESTAMP '2026-01-01 02:00'"
    assert measured.row(sql.format(as_of), **SPAN)["label_maturity"] == pytest.approx(1 / 3)


def test_a_label_holds_for_shadow_partners(measured: Measured) -> None:
    """What is known of a production prediction is known of those that other stages made for its request."""
    measured.put(
        "pairs",
        [
            {"output.value": "a", "request_id": "r", "stage": "production"},
            {"output.value": "b", "request_id": "r", "stage": "shadow"},
            {"output.value": "b", "request_id": "s", "stage": "shadow"},
        ],
        [{"prediction_id": "0", "label": "b"}],
    )
    production, shadow = (
        measured.row("FROM accuracy('pairs', $since, $until, stage := $stage)", stage=stage, **SPAN)
        for stage in ("production", "shadow")
    )
    assert (production["value"], production["label_coverage"]) == (0.0, 1.0)
    assert (shadow["value"], shadow["label_coverage"]) == (1.0, 0.5)


def test_labels_are_joined_as_in_the_view(tmp_path: Path) -> None:
    """Late, corrected, duplicate and nameless labels give the truth that `labeled` gives, in any order."""
    chance = random.Random(5)
    lake = Lake.open(tmp_path / "lake")
    rows = [
        {
            "prediction_id": str(row),
            "request_id": f"r{row}",
            "output.value": row % 3,
            "time": START + timedelta(seconds=row),
        }
        for row in range(60)
    ]
    told = []
    for _ in range(150):
        row = chance.randrange(70)
        name = chance.choice(("timed", "id", "request"))
        told.append(
            {
                "prediction_id": None if name == "request" else str(row),
                "request_id": f"r{row}" if name == "request" else None,
                "prediction_time": START + timedelta(seconds=row) if name == "timed" else None,
                "time": START + timedelta(hours=chance.randrange(3)),
                "label": chance.randrange(3),
            }
        )
    lake.flush([predictions("m", rows)], [], Progress(1, 0))
    lake.flush([labels("m", told)], [], Progress(2, 0))
    session = Session.open(tmp_path / "lake")
    span = {"since": START + timedelta(seconds=7), "until": START + timedelta(seconds=51)}
    view = session.run(
        "SELECT avg((output.value = label)::INT) AS value, count(label) AS sample_count, "
        "count(label) / count(*) AS c FROM labeled.m WHERE time >= $since AND time < $until",
        span,
    ).to_pylist()
    metric = session.run(
        "SELECT value, sample_count, label_coverage AS c FROM accuracy('m', $since, $until)", span
    )
    assert metric.to_pylist() == view
    session.close()
    lake.close()


@pytest.mark.parametrize("as_of", [None, START + timedelta(minutes=40)])
def test_the_greatest_label_holds(measured: Measured, as_of: datetime | None) -> None:
    """The latest, of equal times the one with the greatest digest, holds: beside single ones, by any way."""
    chance = random.Random(9)
    rows = [
        {
            "time": START + timedelta(seconds=row),
            "received_at": START + timedelta(seconds=row),
            "request_id": f"r{row // 2 * 2 if row % 3 else row}",
            "stage": chance.choice(["production", "production", "shadow", "canary"]),
            "output.value": "a",
        }
        for row in range(120)
    ]
    told = []
    for number in range(200):
        row = number if number < 60 else chance.randrange(100)  # the last have none
        way = chance.choice(("time", "time", "time", "id", "request"))
        told.append(
            {
                "prediction_id": None if way == "request" else str(row),
                "request_id": f"r{row}" if way == "request" else None,
                "prediction_time": rows[row]["time"] if way == "time" else None,
                "time": START + timedelta(hours=chance.randrange(3)),
                "received_at": START + timedelta(minutes=chance.randrange(60)),
                "label": chance.choice([*"abcdef", None]),
            }
        )
    measured.put("ways", rows, told, ModelDescription(task=Task.CLASSIFICATION))
    measured.rows("FROM accuracy('ways', $since, $until)", **SPAN)
    found = measured.connection.execute(
        "SELECT prediction_id, truth, truth_time, truth_received_at "
        "FROM lapwing_labeled('ways', $since, $until, $as_of, NULL)",
        {**SPAN, "as_of": as_of},
    ).fetchall()
    expected = _held({str(number): row for number, row in enumerate(rows)}, told, as_of)
    assert sorted(found) == sorted((name, *held) for name, held in expected.items())
    assert sum(held[0] is not None for held in expected.values()) > 60


def _held(
    rows: Mapping[str, Mapping[str, Any]], told: list[dict[str, Any]], as_of: datetime | None
) -> dict[str, tuple[Any, ...]]:
    """Truth, its time and when it was received of each prediction, by trying every pair."""

    def known(name: str, *, by_request: bool) -> list[tuple[datetime, str, str, datetime]]:
        return [
            (
                label["time"],
                hashlib.md5(label["label"].encode(), usedforsecurity=False).hexdigest(),
                label["label"],
                label["received_at"],
            )
            for label in told
            if label["label"] is not None
            and (as_of is None or label["received_at"] <= as_of)
            and (
                label["prediction_id"] == name
                or (by_request and label["request_id"] == rows[name]["request_id"])
            )
        ]

    held: dict[str, tuple[Any, ...]] = {}
    seen = {name: row for name, row in rows.items() if as_of is None or row["received_at"] <= as_of}
    for name, row in seen.items():
        found = known(name, by_request=True)
        if row["stage"] != "production":
            for partner, other in seen.items():
                if other["stage"] == "production" and other["request_id"] == row["request_id"]:
                    found += known(partner, by_request=False)
        time, _, truth, received_at = max(found, default=(None, None, None, None))
        held[name] = (truth, time, received_at)
    return held


def test_a_metric_is_called_over_a_lake(session: Session) -> None:
    """Segments, the window, the interval and what is known of labels come as columns."""
    sql = "FROM accuracy('churn', $since, $until, segments := {'region': tags['region'], 'old': %s})"
    answer = session.run(sql % "inputs.age > 4", SPAN)
    assert answer.column_names == [
        "region",
        "old",
        "window_start",
        "window_end",
        "value",
        "low",
        "high",
        "sample_count",
        "label_coverage",
        "label_maturity",
    ]
    young, old = answer.to_pylist()
    assert (young["region"], young["value"], young["sample_count"], young["label_coverage"]) == (
        "=1+1",
        None,
        0,
        0,
    )
    assert (old["value"], old["sample_count"], old["label_coverage"]) == (1.0, 1, 0.2)
    assert (old["window_start"], old["window_end"]) == (SPAN["since"], SPAN["until"])


def test_a_metric_works_in_the_sandbox(folder: Path) -> None:
    """A query process makes library and views within its bounds, and finds scipy and scikit-learn."""
    with readers(folder) as there, there.pool() as pool:
        for _ in range(2):
            found = pool.run("SELECT value FROM accuracy('churn', $since, $until)", SPAN, 30)
            assert found.to_pylist() == [{"value": 1.0}]
        by_classifier = (
            "SELECT value FROM text_drift('churn', $since, $until, 'word ' || inputs.age, $since, $until, "
            "min_rows := 2)"
        )
        assert pool.run(by_classifier, SPAN, 30).to_pylist()[0]["value"] is not None


def test_a_field_that_comes_later_is_seen(tmp_path: Path) -> None:
    """A session that stays open reads each model as it is now."""
    lake = Lake.open(tmp_path / "lake")
    lake.flush([predictions("m", [{"output.value": 1}])], [], Progress(1, 0))
    session = Session.open(tmp_path / "lake")
    sql = "SELECT value, label_coverage AS c FROM accuracy('m', $since, $until, segments := {'x': %s})"
    assert session.run(sql % "version", SPAN).to_pylist() == [{"value": None, "c": 0.0}]
    with pytest.raises(NotSeenYetError):
        session.run(sql % "inputs.x", SPAN)
    lake.flush(
        [predictions("m", [{"output.value": 1, "inputs.x": 1, "prediction_id": "p"}])], [], Progress(2, 0)
    )
    lake.flush([labels("m", [{"prediction_id": "p", "label": 1}])], [], Progress(3, 0))
    assert session.run(sql % "inputs.x > 0", SPAN).num_rows == 2
    session.close()
    lake.close()


@pytest.mark.parametrize(
    ("sql", "kind", "words"),
    [
        ("FROM accuracy('chum', $since, $until)", NotSeenYetError, "did you mean churn?"),
        ("FROM accuracy($since, $until)", QueryError, "no constant text"),
        ("FROM accuracy(since := $since, until := $until)", QueryError, "the argument model is missing"),
        ("FROM accuracyy('churn', $since, $until)", RefusedQueryError, "did you mean accuracy?"),
        ("FROM accuracy('churn', $since, $until, segments := {'a': inputs.agee})", NotSeenYetError, '"age"'),
        ("FROM accuracy('churn', $since, $until, segment := 1)", QueryError, "did you mean segments?"),
        ("FROM accuracy('churn', $since)", QueryError, "needs the argument until"),
        ("FROM accuracy('churn', $since, $until" + ", 1" * 20 + ")", QueryError, "too many arguments"),
    ],
)
def test_mistakes_are_told(session: Session, sql: str, kind: type[QueryError], words: str) -> None:
    """Who misspells a model, a metric, a field or an argument learns what may have been meant."""
    mentioned = {name: time for name, time in SPAN.items() if f"${name}" in sql}
    with pytest.raises(kind, match=words.replace("?", r"\?")):
        session.run(sql, mentioned)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            "accuracy('churn', '2026-11-02T00:00:00+02:00', $until",
            "write TIMESTAMPTZ '2026-11-02T00:00:00+02:00'",
        ),
        ("accuracy('churn', $since, TIMESTAMP '2026-11-02 00:00-01'", "the offset of until"),
        (
            "accuracy('churn', '2026-11-02T00:30Z', TIMESTAMPTZ '2026-11-02T01:00+01:00'",
            "since, 2026-11-02T00:30Z, is after until",
        ),
        (
            "accuracy('churn', DATE '2026-11-02', '2026-11-01'",
            "since, 2026-11-02, is after until, 2026-11-01",
        ),
        ("accuracy('churn', $since, $until, confidence := 95", "less than 1, as 0.95, and not 95"),
        ("accuracy('churn', $since, $until, confidence := -0.5", "not -0.5"),
        (
            "accuracy('churn', $since, $until, stage := 'prod'",
            "production, shadow or candidate; NULL for all",
        ),
        ("accuracy('churn', $since, $until, threshold := 70", "threshold is a probability"),
        ("f_beta('churn', $since, $until, beta := -1", "beta is at least 0"),
        ("ndcg_at_k('churn', $since, $until, k := 0", "k is at least 1"),
        ("correlation('churn', $since, $until, method := 'kendall'", "pearson or spearman, and not kendall"),
        ("drift('churn', $since, $until, method := 'jensen'", "chi2, g_test or z_test, and not jensen"),
        ("drift('churn', $since, $until, fields := ['inputs.age']", "one pattern as a text"),
        ("drift('churn', $since, $until, bins := 0", "bins is a whole number from 2 on, or NULL, and not 0"),
        ("drift('churn', $since, $until, significance := 5", "significance is a number from 0 to 1"),
        ("drift('churn', $since, $until, adjust := 'maybe'", "adjust is true or false, and not 'maybe'"),
        ("drift('churn', $since, $until, as_of := $until", "profiles, which say what is known now"),
        ("psi('churn', $since, $until, min_rows := -1", "min_rows is a whole number from 0 on, and not -1"),
        ("dataset_drift('churn', $since, $until, share := 50", "share is a number from 0 to 1"),
        ("dataset_drift('churn', $since, $until, top := 1.5", "top is a whole number from 1 on, and not 1.5"),
        ("ks_test('churn', $since, $until, inputs.age, samples := 'all'", "samples is a whole number"),
        ("ks_test('churn', $since, $until, inputs.age, reference_since := $since", "both ends"),
        ("ks_test('churn', $since, $until, inputs.age, $since, $until, reference := 'x'", "both are given"),
        ("ks_test('churn', $since, $until, inputs.age", "needs something to compare with"),
        ("psi_rows('churn', $since, $until, inputs.age, binning := 'own'", "reference or evidently"),
        ("embedding_drift('churn', $since, $until, inputs.v, components := 0", "from 1 on, or NULL"),
        ("embedding_drift('churn', $since, $until, inputs.v, method := 'umap'", "components or mmd"),
        (
            "missing_share('churn', $since, $until, fields := 'inputs.age'",
            "a list of names, ['inputs.age']",
        ),
        ("category_share('churn', $since, $until, inputs.age", "segments := {'age': inputs.age}"),
        ("category_share('churn', $since, $until, 'inputs.age'", "segments is a STRUCT"),
        ("prediction_count('predictions.churn', $since, $until", "names the model without a schema: 'churn'"),
    ],
)
def test_nonsense_is_refused(session: Session, call: str, words: str) -> None:
    """What would count other rows than meant, or none, is an error that says what is expected."""
    mentioned = {name: time for name, time in SPAN.items() if f"${name}" in call}
    with pytest.raises(QueryError) as refused:
        session.run(f"FROM {call})", mentioned)
    assert words in str(refused.value)


def test_times_are_utc(session: Session) -> None:
    """A time with an offset is what it says where its type keeps it; as a text it is refused."""
    sql = "SELECT value FROM prediction_count('churn', {}, {})"
    ahead = START + timedelta(hours=2)
    for since in (f"'{START.isoformat()}Z'", f"TIMESTAMPTZ '{ahead.isoformat()}+02:00'"):
        until = f"{since}::TIMESTAMPTZ::TIMESTAMP + INTERVAL 1 DAY"
        assert session.run(sql.format(since, until)).column("value").to_pylist() == [10]
    until = {"until": SPAN["until"]}
    with pytest.raises(QueryError, match=f"the parameter since .*: {START.isoformat()}"):
        session.run(sql.format("$since", "$until"), {"since": f"{ahead.isoformat()}+02:00", **until})
    assert (
        session.run(sql.format("$since", "$until"), {"since": f"{START.isoformat()}Z", **until}).num_rows == 1
    )


@pytest.mark.parametrize(
    ("description", "words"),
    [
        (ModelDescription(task=Task.REGRESSION), "task: classification"),
        (ModelDescription(task=Task.CLASSIFICATION), "prediction: output.value"),
        (ModelDescription(task=Task.CLASSIFICATION, prediction="output.klass"), "that is output.klass"),
        (ModelDescription(task=Task.CLASSIFICATION, prediction="output.a"), "label: label.value"),
    ],
)
def test_what_nobody_told_is_asked_for(measured: Measured, description: ModelDescription, words: str) -> None:
    """A metric that needs a role that nothing plays says how to declare it."""
    measured.put(
        "vague",
        [{"output.a": "x", "output.b": "y"}],
        [{"prediction_id": "0", "label.c": "x", "label.d": "y"}],
        description,
    )
    with pytest.raises(QueryError, match=words):
        measured.rows("FROM accuracy('vague', $since, $until)", **SPAN)


@pytest.mark.parametrize(
    "sql",
    [
        "FROM lapwing_labeled('churn', $since, $until, NULL, 'production')",
        "SELECT lapwing_two_sided_z(0.95)",
        'FROM "scored:churn"',
        'FROM temp.main."scored:churn"',
        "FROM accuracy('churn', $since, $until, segments := {'a': (FROM read_text('/etc/passwd'))})",
        "FROM accuracy('churn\" UNION SELECT 1', $since, $until)",
    ],
)
def test_what_is_behind_a_metric_stays_there(session: Session, sql: str) -> None:
    """Neither pieces nor views can be named, and arguments are checked as any SQL."""
    session.run("FROM accuracy('churn', $since, $until)", SPAN)
    mentioned = {name: time for name, time in SPAN.items() if f"${name}" in sql}
    with pytest.raises(QueryError):
        session.run(sql, mentioned)


def test_a_metric_names_its_model() -> None:
    """Rules wait for the models of the metrics that they call, and follow their labels where these matter."""
    sql = (
        "FROM accuracy('Churn', $since, $until) JOIN prediction_count('other', $since, $until) USING (value)"
    )
    assert tables_in(duckdb.connect(), sql) == {("labeled", "Churn"), ("predictions", "other")}


def test_unlike_rows_are_counted_apart(measured: Measured) -> None:
    """Only rows of the stage, of the span and received by `as_of` count, each by its weight."""
    rows = [
        {"time": START, "weight": 2.0},
        {"time": START, "stage": "shadow"},
        {"time": END},
        {"time": START, "received_at": END},
        {"time": START - timedelta(seconds=1)},
    ]
    measured.put("counted", [{"output.value": 1, "received_at": START} | row for row in rows])
    sql = "SELECT value, sample_count AS n FROM prediction_count('counted', $since, $until{})"
    assert measured.row(sql.format(""), **SPAN) == {"value": 3.0, "n": 2}
    assert measured.row(sql.format(", stage := 'shadow'"), **SPAN) == {"value": 1.0, "n": 1}
    assert measured.row(sql.format(", stage := NULL"), **SPAN) == {"value": 4.0, "n": 3}
    assert measured.row(sql.format(", as_of := $since"), **SPAN) == {"value": 2.0, "n": 1}
    assert measured.rows("FROM prediction_count('counted', $until, $until)", until=START) == []
