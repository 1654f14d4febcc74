"""Events of ours that name no usable model are rejected and counted, with a message that names the rule."""

from typing import Any

import pytest

from helpers.decode_requests import TIME_NS, label, prediction, record, request
from lapwing_collector.decode import decode_logs


@pytest.mark.parametrize(
    "name", ["", "n" * 129, "tab\there", "nul\x00", "del\x7f", "next\x85line", 7, None, ["churn"]]
)
@pytest.mark.parametrize("event", [prediction, label])
def test_a_model_name_that_is_not_allowed_is_rejected(event: Any, name: Any) -> None:
    """The record is counted and the rest of the request is kept."""
    decoded = decode_logs(request(event({}), event({}, {"ml.model.name": name}), record("", "x")), TIME_NS)
    assert (decoded.received, decoded.rejected) == (3, 1)
    assert [batch.rows.num_rows for batch in decoded.batches] == [1, 1]


@pytest.mark.parametrize("name", ["c", "n" * 128, "é/../\\ 'x' \"y\"", "🐦" * 128, " "])
def test_any_other_model_name_is_kept_as_it_is(name: str) -> None:
    """Case, spaces, quotes and any script are part of the name."""
    decoded = decode_logs(request(prediction({}, {"ml.model.name": name})), TIME_NS)
    assert [batch.model for batch in decoded.batches] == [name]
    assert (decoded.rejected, decoded.message) == (0, "")


def test_the_message_names_the_rule_and_an_example() -> None:
    """A developer who reads it knows what to change, and where."""
    bad = [prediction({}, {"ml.model.name": "x" * 500}), label({}, {"ml.model.name": None})]
    message = decode_logs(request(prediction({}), *bad), TIME_NS).message
    assert message == (
        "2 of 3 records rejected. For example record 1, an ml.prediction: ml.model.name must be text of 1 to "
        f"128 characters without control characters, and it has '{'x' * 79}."
    )
    message = decode_logs(request(record("ml.label", None)), TIME_NS).message
    assert message.endswith(
        "For example record 0, an ml.label: ml.model.name must be text of 1 to 128 "
        "characters without control characters, and it has no such attribute."
    )
