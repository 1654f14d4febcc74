"""What an evaluation and a report say, as values that every rendering is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

Cell = str | int | float | bool | None


class Outcome(StrEnum):
    """What became of one row of a rule.

    `FAILED` is a rule that would alert; the three after it are rules that cannot be judged.
    """

    PASSED = "passed"
    FAILED = "failed"
    INSUFFICIENT = "insufficient"
    NO_DATA = "no_data"
    ERROR = "error"
    RECORDED = "recorded"


UNJUDGED: Final = frozenset({Outcome.INSUFFICIENT, Outcome.NO_DATA, Outcome.ERROR})


class Verdict(StrEnum):
    """What becomes of a candidate."""

    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One row of a rule's result, judged; or a rule that gave none.

    Attributes:
        rule: As `group/rule`.
        kind: `alert`, or `record` for a metric that is shown and not judged.
        criticality: `fail` or `warn`.
        outcome: What became of it.
        labels: What tells the row from others of the rule.
        conditions: What it is judged by; any that holds is bad.
        value: The rule's, where there is one.
        low: Where its interval begins, if the rule's SQL tells one.
        high: Where it ends.
        sample_count: Rows behind it.
        label_coverage: Share of these that have a label.
        sides: The values of what it is compared with, by side: `reference`, `production`, `dummy`.
        text: The rule's summary where it failed; why there is no judgement where there is none.
    """

    rule: str
    kind: Literal["alert", "record"]
    criticality: Literal["fail", "warn"]
    outcome: Outcome
    labels: Mapping[str, str] = field(default_factory=dict)
    conditions: Sequence[str] = ()
    value: float | None = None
    low: float | None = None
    high: float | None = None
    sample_count: int | None = None
    label_coverage: float | None = None
    sides: Mapping[str, float | None] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """Rows that take part in an evaluation.

    Attributes:
        name: `candidate`, `reference`, `production`, `dummy`.
        source: Where they are from, for people.
        rows: How many predictions; None where they were not counted.
        labels: How many of them have a label.
        versions: Of the model, as far as told.
        since: The time of the first one.
        until: Just after that of the last one.
    """

    name: str
    source: str
    rows: int | None = None
    labels: int | None = None
    versions: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models compared on the same rows.

    Attributes:
        metric: Of the library: `shadow_auc_difference`.
        what: What is compared, for people: `ROC-AUC`.
        better: Whether more of it is better, or less.
        champion: The value of what is in production; None where there is none.
        challenger: That of the candidate.
        difference: Challenger minus champion.
        low: Where the interval of the difference begins.
        high: Where it ends.
        p_value: How likely chance alone makes such a difference, where the method tells.
        sample_count: Pairs of rows.
        problem: Why there is no value; else empty.
    """

    metric: str
    what: str
    better: Literal["more", "less"]
    champion: float | None = None
    challenger: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    sample_count: int | None = None
    problem: str = ""

    @property
    def word(self) -> Literal["better", "worse", "no clear difference", "unknown"]:
        """What the interval says of the candidate."""
        if self.low is None or self.high is None:
            return "unknown"
        if self.low > 0:
            return "better" if self.better == "more" else "worse"
        if self.high < 0:
            return "worse" if self.better == "more" else "better"
        return "no clear difference"


@dataclass(frozen=True, slots=True)
class Line:
    """Points of a chart that belong together.

    Attributes:
        name: What the legend says.
        x: Positions: numbers, or texts of categories.
        y: Values; None where there is none.
        low: Lower ends of intervals; none if empty.
        high: Upper ends.
    """

    name: str
    x: Sequence[Cell]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture of numbers; the numbers are what is kept.

    Attributes:
        title: What it shows.
        kind: `lines` over numbers, `times` over times (ISO 8601, in UTC), or `bars` beside each other for
            each category.
        lines: The series.
        x: What is told from left to right.
        y: What is told upwards.
        diagonal: Whether a line from corner to corner stands for chance.
    """

    title: str
    kind: Literal["lines", "times", "bars"]
    lines: Sequence[Line]
    x: str = ""
    y: str = ""
    diagonal: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under names."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a report.

    Attributes:
        title: What it is about.
        text: What to know about it.
        table: Its numbers.
        charts: Pictures of them.
        sql: The queries that gave them.
        problem: Why it is empty; else empty itself.
    """

    title: str
    text: str = ""
    table: Table | None = None
    charts: Sequence[Chart] = ()
    sql: Sequence[str] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One run of the gate.

    Attributes:
        id: Unique: a UUID.
        model: Whose candidate.
        version: The candidate's, where it has one.
        verdict: What becomes of it.
        started_at: When it was evaluated.
        seconds: How long that took.
        by: Who did it.
        rules: The files of the rules.
        allow_insufficient: Whether rules that cannot be judged are let pass.
        sides: The candidate, then what it was compared with.
        checks: Every rule's, in the order of the files.
        comparisons: With production on the same rows.
        sections: The report.
        notes: What people should know about how it was done.
        lapwing: Version of Lapwing.
    """

    id: str
    model: str
    version: str | None
    verdict: Verdict
    started_at: datetime
    seconds: float
    by: str
    rules: Sequence[str]
    allow_insufficient: bool
    sides: Sequence[Side]
    checks: Sequence[Check]
    comparisons: Sequence[Comparison] = ()
    sections: Sequence[Section] = ()
    notes: Sequence[str] = ()
    lapwing: str = ""

    @property
    def passed(self) -> bool:
        """Whether the candidate may be released."""
        return self.verdict is Verdict.PASSED

    @property
    def stops(self) -> tuple[Check, ...]:
        """The checks that keep it from being released."""
        return tuple(check for check in self.checks if stops(check, self.allow_insufficient))

    @property
    def warnings(self) -> tuple[Check, ...]:
        """Checks that did not pass and stop nothing."""
        bad = {Outcome.FAILED, *UNJUDGED}
        return tuple(check for check in self.checks if check.outcome in bad and check not in self.stops)

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {name: _json(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Step:
    """One question of the way to an advice.

    Attributes:
        question: What is asked.
        answer: `yes`, `no`, or `unknown`.
        because: The numbers behind the answer, for people.
    """

    question: str
    answer: Literal["yes", "no", "unknown"]
    because: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about a model, and how that follows.

    Attributes:
        state: For programs: `fine`, `watch`, `fix_data`, `collect_labels`, `retrain`, `unknown`.
        text: For people.
        steps: The questions on the way, in order.
    """

    state: str
    text: str
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class Report:
    """A look at some rows of a model.

    Attributes:
        model: Which.
        made_at: When.
        sides: The rows that it is about, then what they are compared with.
        sections: What there is to see.
        advice: Whether to retrain; None where that was not asked.
        notes: What people should know about how it was done.
        lapwing: Version of Lapwing.
    """

    model: str
    made_at: datetime
    sides: Sequence[Side]
    sections: Sequence[Section]
    advice: Advice | None = None
    notes: Sequence[str] = ()
    lapwing: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {name: _json(value) for name, value in asdict(self).items()}


def stops(check: Check, allow_insufficient: bool) -> bool:
    """Whether a check keeps a candidate from being released."""
    bad = {Outcome.FAILED} if allow_insufficient else {Outcome.FAILED, *UNJUDGED}
    return check.kind == "alert" and check.criticality == "fail" and check.outcome in bad


def verdict_of(checks: Sequence[Check], *, allow_insufficient: bool) -> Verdict:
    """What becomes of a candidate with these checks."""
    stopped = any(stops(check, allow_insufficient) for check in checks)
    return Verdict.FAILED if stopped else Verdict.PASSED


def _json(value: Any) -> Any:
    """Values as JSON has them: times in ISO 8601, numbers that are none as null."""
    match value:
        case Mapping():
            return {str(name): _json(each) for name, each in value.items()}
        case StrEnum():
            return value.value
        case str() | bool() | int() | None:
            return value
        case float():
            return value if abs(value) < float("inf") else None
        case datetime():
            return f"{value.isoformat()}Z"
        case _:
            return [_json(each) for each in value]
