"""Fixtures for tests of code that records predictions; pytest finds them where lapwing is installed.

def test_predicts(lapwing_records):
    predict(age=31, plan="pro")
    assert lapwing_records.predictions[0].inputs == {"age": 31, "plan": "pro"}
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lapwing.testing import Recorded, SteppingClock


@pytest.fixture
def lapwing_clock() -> "SteppingClock":
    """Give a clock that stands still unless it is read or told to move.

    A test that asks for it and for `lapwing_records` has its times, durations and ids from it.
    """
    from lapwing.testing import SteppingClock  # noqa: PLC0415  # most tests do not want it

    return SteppingClock()


@pytest.fixture
def lapwing_records(request: pytest.FixtureRequest) -> "Iterator[Recorded]":
    """Keep what is recorded during the test in memory, and let mistakes raise.

    For redaction, sampling or quiet use `lapwing.testing.capture` itself.
    """
    from lapwing.testing import capture  # noqa: PLC0415  # as above

    wants_clock = "lapwing_clock" in request.fixturenames
    with capture(clock=request.getfixturevalue("lapwing_clock") if wants_clock else None) as recorded:
        yield recorded
