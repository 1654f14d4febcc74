"""What users' tests are given."""

from concurrent.futures import ThreadPoolExecutor

import pytest

import lapwing
from lapwing import _process
from lapwing.testing import capture


def test_capture_sees_all_threads_and_puts_back_what_was() -> None:
    """Captures nest, take the records of every thread, and leave the process as it was."""
    before = _process.replace_sink(None)
    _process.replace_sink(before)
    with capture() as outer:
        lapwing.log_prediction(model="outer", inputs={}, output=1)
        with capture() as inner, ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda n: lapwing.log_label(model="inner", label=n, request_id="r"), range(10)))
        lapwing.log_prediction(model="outer", inputs={}, output=2)
    assert [record.model for record in outer.records] == ["outer", "outer"]
    assert sorted(record.label for record in inner.labels) == list(range(10))
    assert inner.predictions == []
    after = _process.replace_sink(before)
    assert after is before


def test_capture_is_loud() -> None:
    """Inside capture, what production would only count raises, so that a test sees it."""
    with capture() as recorded:
        with pytest.raises(ValueError, match="prediction_id or the request_id"):
            lapwing.log_label(model="m", label=1)
        with (
            lapwing.at("noon"),  # type: ignore[arg-type]
            pytest.raises(TypeError, match="a time is a datetime or nanoseconds as an int, not str"),
        ):
            lapwing.watch(model="m")(lambda: 1)()
    assert recorded.records == []


def test_flush_and_stats_work_inside_capture() -> None:
    """Code under test may flush, shut down and count; everything that was recorded counts as acknowledged."""
    with capture() as recorded:
        lapwing.log_prediction(model="m", inputs={}, output=1)
        assert lapwing.flush()
        assert lapwing.shutdown()
        assert lapwing.stats() == lapwing.Stats(1, 1, 0, {}) == recorded.stats()
