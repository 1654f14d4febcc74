"""What becomes of a candidate, by what became of its checks."""

import json
from dataclasses import replace
from datetime import datetime

import pytest

from lapwing_collector.gate import Check, Evaluation, Outcome, Verdict, verdict_of

CHECK = Check("g/r", "alert", "fail", Outcome.PASSED)


@pytest.mark.parametrize(
    ("outcome", "criticality", "kind", "verdict", "lenient"),
    [
        (Outcome.PASSED, "fail", "alert", Verdict.PASSED, Verdict.PASSED),
        (Outcome.FAILED, "fail", "alert", Verdict.FAILED, Verdict.FAILED),
        (Outcome.FAILED, "warn", "alert", Verdict.PASSED, Verdict.PASSED),
        (Outcome.INSUFFICIENT, "fail", "alert", Verdict.FAILED, Verdict.PASSED),
        (Outcome.NO_DATA, "fail", "alert", Verdict.FAILED, Verdict.PASSED),
        (Outcome.ERROR, "fail", "alert", Verdict.FAILED, Verdict.PASSED),
        (Outcome.ERROR, "warn", "alert", Verdict.PASSED, Verdict.PASSED),
        (Outcome.RECORDED, "fail", "record", Verdict.PASSED, Verdict.PASSED),
        (Outcome.ERROR, "fail", "record", Verdict.PASSED, Verdict.PASSED),
    ],
)
def test_one_check_decides(
    outcome: Outcome, criticality: str, kind: str, verdict: Verdict, lenient: Verdict
) -> None:
    """Failing stops a candidate, as does what cannot be judged unless that is let pass; warnings never do."""
    checks = [CHECK, replace(CHECK, outcome=outcome, criticality=criticality, kind=kind)]
    assert verdict_of(checks, allow_insufficient=False) is verdict
    assert verdict_of(checks, allow_insufficient=True) is lenient


def test_an_evaluation_as_json_has_no_number_that_json_has_not() -> None:
    """Infinities and NaN are null, times are ISO 8601 in UTC, and what stops a candidate is told."""
    failed = replace(CHECK, outcome=Outcome.FAILED, value=float("nan"), sides={"dummy": float("inf")})
    warned = replace(CHECK, rule="g/w", outcome=Outcome.ERROR, criticality="warn")
    run = Evaluation(
        "i",
        "m",
        None,
        Verdict.FAILED,
        datetime(2026, 3, 1),
        0.5,
        "me",
        [],
        False,
        [],
        [CHECK, failed, warned],
    )
    told = json.loads(json.dumps(run.as_json(), allow_nan=False))
    assert told["started_at"] == "2026-03-01T00:00:00Z"
    assert told["checks"][1]["value"] is None
    assert told["checks"][1]["sides"] == {"dummy": None}
    assert run.stops == (failed,)
    assert run.warnings == (warned,)
