"""Test files of rules: their schema, in the words of `promtool test rules`. Pure."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from lapwing_collector.clock import read_utc
from lapwing_collector.config.documents import Document, Mistake, parse_document, parse_duration
from lapwing_collector.model.slots import EPOCH

_MOST_POINTS: Final = 1_000_000

_SERIES: Final = re.compile(r"(?P<table>[^{]+?)\s*(?:\{(?P<labels>.*)\})?", re.DOTALL)
_LABEL: Final = re.compile(r'\s*(?P<name>[\w.]+)\s*=\s*"(?P<text>(?:\\.|[^"\\])*)"\s*(?:,|$)')
_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|NaN|[-+]?Inf"
_POINTS: Final = re.compile(
    rf"(?P<gap>_)(?:x(?P<gaps>\d+))?|(?P<start>{_NUMBER})(?:(?P<step>[-+](?:\d+\.?\d*|\.\d+))?x(?P<times>\d+))?"
)


def parse_moment(value: Any) -> datetime:
    """Read an ISO time, UTC unless it says otherwise, as naive UTC.

    Raises:
        ValueError: It is none.
    """
    try:
        return read_utc(str(value))
    except ValueError as error:
        raise ValueError(f"a time such as 2026-01-31T12:00:00Z, not {value!r}") from error


def points(text: str) -> list[float | None]:
    """Read values as promtool writes them: `1 2.5 _ 0+10x3` is 1, 2.5, nothing, 0, 10, 20, 30.

    Raises:
        ValueError: It is no such text, or has more than a million values.
    """
    found: list[float | None] = []
    for word in text.split():
        match = _POINTS.fullmatch(word)
        if match is None:
            raise ValueError(f"values such as `1 2.5 _ 0+10x3 7x5`, not {word!r}")
        if match["gap"]:
            found += [None] * int(match["gaps"] or 1)
        else:
            start, step = float(match["start"]), float(match["step"] or 0)
            found += [start + step * number for number in range(int(match["times"] or 0) + 1)]
        if len(found) > _MOST_POINTS:
            raise ValueError(f"at most {_MOST_POINTS:,} values")
    return found


def _series(text: str) -> str:
    match = _SERIES.fullmatch(text.strip())
    labels = (match["labels"] or "") if match else ""
    if match is None or _LABEL.sub("", labels).strip():
        raise ValueError(f'a series such as predictions.churn{{version="v7"}}, not {text!r}')
    return text.strip()


def _number_text(value: Any) -> Any:
    """A single number is what YAML reads as one."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _points(text: str) -> str:
    points(text)
    return text


def _file(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


Moment = Annotated[datetime, BeforeValidator(parse_moment)]
Duration = Annotated[timedelta, BeforeValidator(lambda value: parse_duration(str(value)))]


class TableEntry(Document):
    """One item of `input_tables`."""

    file: str | None = None
    rows: list[dict[str, Any]] | None = None

    @classmethod
    def mistakes(cls, raw: Mapping[Any, Any]) -> Iterator[Mistake]:
        """Check that there is one source of rows."""
        if (raw.get("file") is None) == (raw.get("rows") is None):
            yield (), "needs one of the keys file and rows"


class SeriesEntry(Document):
    """One item of `input_series`."""

    series: Annotated[str, AfterValidator(_series)]
    values: Annotated[str, BeforeValidator(_number_text), AfterValidator(_points)]
    column: str | None = None
    rows: Annotated[int, Field(ge=1, le=10_000)] = 1

    @property
    def table(self) -> str:
        """The table that the rows are for."""
        match = _SERIES.fullmatch(self.series)
        return match["table"] if match else self.series

    @property
    def labels(self) -> dict[str, str]:
        """What all its rows have in common, by column."""
        match = _SERIES.fullmatch(self.series)
        found = _LABEL.finditer((match["labels"] or "") if match else "")
        return {each["name"]: re.sub(r"\\(.)", r"\1", each["text"]) for each in found}

    def rows_from(self, start: datetime, interval: timedelta) -> Iterator[dict[str, Any]]:
        """The rows that it stands for, one value every `interval`."""
        labels = self.labels
        column = self.column or ("output.value" if self.table.startswith("predictions") else "value")
        for number, value in enumerate(points(self.values)):
            if value is not None:
                row = {**labels, "time": start + number * interval, column: value}
                for _ in range(self.rows):
                    yield row


class ExpectedAlert(Document):
    """One item of `exp_alerts`."""

    exp_labels: dict[str, str] = Field(default_factory=dict)
    exp_annotations: dict[str, str] = Field(default_factory=dict)


class AlertCase(Document):
    """One item of `alert_rule_test`."""

    eval_time: Duration
    alertname: str
    groupname: str | None = None
    exp_alerts: list[ExpectedAlert] = Field(default_factory=list)


class ExpectedSample(Document):
    """One item of `exp_samples`."""

    labels: dict[str, str] = Field(default_factory=dict)
    value: float | int | None = None
    sample_count: int | None = None


class RecordCase(Document):
    """One item of `record_rule_test`."""

    eval_time: Duration
    record: str
    groupname: str | None = None
    exp_samples: list[ExpectedSample] = Field(default_factory=list)


class NotifyCase(Document):
    """One item of `notify_test`."""

    eval_time: Duration
    exp_targets: list[str] = Field(default_factory=list)
    exp_suppressed: list[str] = Field(default_factory=list)


class Case(Document):
    """One item of `tests`.

    Attributes:
        start_timestamp: Where `eval_time`, times of rows that are durations, and series begin.
        interval: Time between the values of a series.
    """

    name: str = ""
    start_timestamp: Moment = EPOCH
    interval: Duration = timedelta(minutes=1)
    input_tables: dict[str, Annotated[TableEntry, BeforeValidator(_file)]] = Field(default_factory=dict)
    input_series: list[SeriesEntry] = Field(default_factory=list)
    alert_rule_test: list[AlertCase] = Field(default_factory=list)
    record_rule_test: list[RecordCase] = Field(default_factory=list)
    notify_test: list[NotifyCase] = Field(default_factory=list)

    @classmethod
    def mistakes(cls, raw: Mapping[Any, Any]) -> Iterator[Mistake]:
        """Check that it tests something: one that cannot fail is a mistake."""
        if not any(raw.get(key) for key in _TESTS):
            yield (), f"tests nothing; it needs one of the keys {', '.join(_TESTS)}"


_TESTS: Final = ("alert_rule_test", "record_rule_test", "notify_test")


class CaseFile(Document):
    """A whole test file."""

    rule_files: Annotated[list[str], Field(min_length=1)]
    model_files: list[str] = Field(default_factory=list)
    notify_file: str | None = None
    tests: Annotated[list[Case], Field(min_length=1)]

    @classmethod
    def mistakes(cls, raw: Mapping[Any, Any]) -> Iterator[Mistake]:
        """Check that there are routes where some are tested."""
        tests = raw.get("tests")
        for at, case in enumerate(tests if isinstance(tests, list) else ()):
            if isinstance(case, dict) and case.get("notify_test") and raw.get("notify_file") is None:
                yield ("tests", at, "notify_test"), "needs the key notify_file of the whole file"


def load_cases(text: str, name: str) -> CaseFile:
    """Read a test file.

    Raises:
        MistakesError: It is wrong; a line `file:line: key: what is wrong` for every mistake found.
    """
    return parse_document(text, CaseFile, name)
