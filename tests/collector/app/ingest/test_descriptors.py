"""Texts that a file declares are described when they come, also when they come from the log."""

from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from helpers.collector import ask, prediction, project, request, running
from helpers.faults_victim import Victim, wait_until
from lapwing_collector.app.upkeep.keeping import set_reference
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.clock import epoch_ns
from lapwing_collector.errors import NotSeenYetError

START = datetime(2026, 1, 1)
MODEL = "{model: m, features: {inputs.letter: {type: text, keep: %s}}}"
LETTERS = ["It is good.", "It is bad. Very bad!", "42"]
ROWS = "SELECT prediction_id, inputs, descriptors FROM predictions.m ORDER BY 1"


def letters(*, first: int = 0, count: int = 3) -> bytes:
    return request(
        [
            prediction(
                "m",
                f"p{i:03}",
                epoch_ns(START + timedelta(minutes=i)),
                inputs={"letter": LETTERS[i % 3], "age": i},
                sequence=i + 1,
            )
            for i in range(first, first + count)
        ],
        "process",
    )


def stored(data: Path) -> bool:
    """Whether what was sent is in the lake."""
    with suppress(NotSeenYetError):
        return bool(ask(data, ROWS))
    return False


def config(folder: Path, *, keep: bool) -> Path:
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "models" / "m.yaml").write_text(MODEL % str(keep).lower())
    file = folder / "lapwing.yaml"
    file.touch()
    return file


def test_descriptors_are_columns_that_metrics_work_on(tmp_path: Path) -> None:
    """They have bins, drift and quality as any number, and come with a text that is declared later, too."""
    data = tmp_path / "data"
    with running(project(data)) as collector:
        assert collector.post(letters(count=30))[0] == 200
    file = config(tmp_path, keep=True)
    hour = ("2026-01-01T00:30", "2026-01-01T01:00")
    with running(project(data, file)) as collector:
        assert collector.post(letters(first=30, count=30))[0] == 200
        wait_until(lambda: collector.ask("SELECT count(*) AS n FROM predictions.m") == [{"n": 60}], "written")
        set_reference(file, {"data": data}, tell_nobody, model="m", name="past", window=hour)
        assert collector.post(letters(first=60, count=30))[0] == 200
    found = ask(data, ROWS)
    assert [row["descriptors"] is None for row in found] == [True] * 30 + [False] * 60
    assert found[30]["inputs"] == {"letter": "It is good.", "age": 30}
    assert found[31]["descriptors"] == {
        "inputs": {"letter": {"length": 20, "words": 5, "sentences": 2, "non_letter_share": 0.1}}
    }
    span = "TIMESTAMP '2026-01-01 00:30', TIMESTAMP '2026-01-02'"
    words = "descriptors.inputs.letter.words"
    summary = (
        f"FROM numeric_summary('m', {span}, fields := ['{words}']) SELECT value WHERE statistic = 'mean'"
    )
    assert ask(data, summary) == [{"value": 3.0}]
    assert ask(data, f"FROM text_words('m', {span}, inputs.letter) SELECT value") == [{"value": 3.0}]
    assert ask(data, f"FROM ks_test('m', {span}, {words}, {span}) SELECT value") == [{"value": 1.0}]
    psi = f"FROM psi('m', {span}, reference := 'past', fields := '{words}', min_rows := 30)"
    (drift,) = ask(data, psi)
    assert (drift["value"], drift["sample_count"], drift["reference_count"]) == (0.0, 30, 30)


def test_a_killed_collector_describes_what_it_left_in_the_log(tmp_path: Path) -> None:
    """What was acknowledged and not written comes out of the log as it would have, without the text."""
    mark = tmp_path / "died"
    config(tmp_path, keep=False)
    victim = Victim(tmp_path / "killed")
    try:
        # The first commit is that of a new lake.
        victim.start(LAPWING_CRASH_AT="lake.before_commit:2", LAPWING_CRASH_MARK=str(mark))
        assert not mark.exists()
        assert victim.post(letters(count=9)) == 200
        wait_until(mark.exists, "it died")
        wait_until(lambda: victim.ready, "it takes requests again")
        assert victim.post(letters(count=9)) == 200
        wait_until(lambda: stored(victim.data), "what was in the log is in the lake")
        assert victim.stop() == 0
    finally:
        victim.clear()
    described = [(11, 3, 1, 1 / 11), (20, 5, 2, 2 / 20), (2, 1, 1, 1.0)]
    names = ("length", "words", "sentences", "non_letter_share")
    assert ask(victim.data, ROWS) == [
        {
            "prediction_id": f"p{i:03}",
            "inputs": {"age": i},
            "descriptors": {"inputs": {"letter": dict(zip(names, described[i % 3], strict=True))}},
        }
        for i in range(9)
    ]
