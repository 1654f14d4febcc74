"""Fields that are used, but not recorded."""

from typing import Any

import pandas as pd

import lapwing
from lapwing.testing import capture

ROWS = pd.DataFrame({"age": [31, 47], "key": ["a", "b"]})


def test_ids_are_found_in_what_is_left_out() -> None:
    """The ids of a table's rows may be a column or an argument that is excluded."""
    with capture() as kept:
        lapwing.watch(lambda rows: [1, 2], model="m", prediction_id="key", exclude=["key"])(ROWS)
        by_argument = lapwing.watch(
            lambda rows, ids: [1, 2], model="m", prediction_id="ids", exclude=["key", "ids"]
        )
        by_argument(ROWS, ["c", "d"])
    assert [record.prediction_id for record in kept.predictions] == ["a", "b", "c", "d"]
    assert [record.inputs for record in kept.predictions] == [{"age": 31}, {"age": 47}] * 2


def test_fallback_is_read_from_what_is_left_out_or_renamed() -> None:
    """The function's own word that an answer is a default counts, recorded or not, in tables too."""

    def one() -> dict[str, Any]:
        return {"value": 1, "default": True}

    def table(rows: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"value": [1, 2], "default": [True, False]})

    options: list[dict[str, Any]] = [{"exclude": ["output.default"]}, {"rename": {"output.default": "d"}}]
    with capture() as kept:
        for chosen in options:
            lapwing.watch(one, model="m", fallback="output.default", **chosen)()
            lapwing.watch(table, model="m", fallback="output.default", **chosen)(ROWS)
    fallbacks = [record.attributes["ml.prediction.fallback"] for record in kept.predictions]
    assert fallbacks == [True, True, False] * 2
    assert [sorted(record.output) for record in kept.predictions] == [["value"]] * 3 + [["d", "value"]] * 3
