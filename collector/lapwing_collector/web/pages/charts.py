"""Charts as plain values: which columns of a panel are drawn, and how. `static/chart.js` draws them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """How a panel's rows are shown."""

    LINE = "line"
    """Curves over time."""
    AREA = "area"
    """Parts of a whole over time, one upon the other."""
    BARS = "bars"
    """A bar for each row, beside those it is compared with."""
    TABLE = "table"
    """The rows themselves."""


class Unit(StrEnum):
    """What numbers are of."""

    COUNT = "count"
    NUMBER = "number"
    SHARE = "share"
    """From 0 to 1, shown as per cent."""
    MS = "ms"
    SECONDS = "s"
    BYTES = "bytes"
    RATE = "rate"
    """Per second."""


@dataclass(frozen=True, slots=True)
class Series:
    """One curve, or the bars of one colour.

    Attributes:
        column: The panel's column with its values.
        label: What people read; the column's name if empty.
        low: The column with the lower end of a band around it.
        high: That with the upper end.
        muted: It is what others are compared with, as a reference: drawn in grey.
        unit: What its numbers are of, where that is another than the chart's.
    """

    column: str
    label: str = ""
    low: str = ""
    high: str = ""
    muted: bool = False
    unit: Unit | None = None


@dataclass(frozen=True, slots=True)
class Threshold:
    """A line that people want to see crossed or not: that of a rule.

    Attributes:
        value: Where it is.
        label: What people read beside it: the rule's name.
        rule: The rule, as `group/name`; empty for what is usual and no rule watches.
        sign: On which side of it the rule fires: `>`, `>=`, `<` or `<=`.
        column: The end of an interval that is compared, `low` or `high`; the value itself if empty.
        over: Length of the windows that the rule judges, in seconds.
    """

    value: float
    label: str
    rule: str = ""
    sign: str = ""
    column: str = ""
    over: float | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """One look at a panel's rows; several charts may share a panel, which is asked once.

    Attributes:
        panel: Name of the panel, as `model/traffic`.
        title: What it shows.
        series: What is drawn; for a table, the columns that are shown first. All columns if empty.
        kind: How.
        unit: What the numbers are of.
        x: The column along the axis: a time for lines and areas, any for bars.
        by: A column by whose values rows belong to different curves, as `version`.
        thresholds: Lines across.
        coverage: The column that says which share of labels had come: where not all have, that is marked.
        from_zero: Whether the axis begins at 0 whatever the values.
        empty: What is said where there are no rows, and what to do about it.
        asked: Parameters for the panel beside range of time, model and version.
        wide: Whether it takes the whole width.
        note: A sentence below the title.
    """

    panel: str
    title: str
    series: Sequence[Series] = ()
    kind: Kind = Kind.LINE
    unit: Unit = Unit.NUMBER
    x: str = "time"
    by: str = ""
    thresholds: Sequence[Threshold] = ()
    coverage: str = ""
    from_zero: bool = True
    empty: str = "nothing in this range of time"
    asked: tuple[tuple[str, str], ...] = ()
    wide: bool = False
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """What the browser has to know."""
        told = asdict(self)
        return {name: value for name, value in told.items() if name not in {"panel", "asked", "wide", "note"}}


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened, on the time axis of every chart of a page.

    Attributes:
        at: When it began, as ISO 8601.
        kind: `alert`, `version`, `deployment` or `note`.
        label: What people read.
        until: When it ended; None for a moment.
        href: Where more is told.
    """

    at: str
    kind: str
    label: str
    until: str | None = None
    href: str = ""

    @property
    def told(self) -> dict[str, Any]:
        """What the browser has to know."""
        return asdict(self)
