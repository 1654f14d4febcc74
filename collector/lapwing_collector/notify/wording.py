"""Words for values: numbers, times, thresholds and trends as people read them on a small screen. Pure."""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

_BARS: Final = "▁▂▃▄▅▆▇█"
_GAP: Final = "·"
_LITTLE: Final = 0.1
"""Share of the greatest value by which values have to differ to fill the height."""

# Marks that turn the direction of what follows, and what looks like nothing: no label rearranges a message.
_INVISIBLE: Final = re.compile(
    "[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)

_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_SIMPLE: Final = re.compile(rf"\s*([A-Za-z_]\w*)\s*(<=|>=|<>|!=|<|>|==|=)\s*({_NUMBER})\s*")
_TURNED: Final = re.compile(rf"\s*({_NUMBER})\s*(<=|>=|<>|!=|<|>|==|=)\s*([A-Za-z_]\w*)\s*")
_MIRRORED: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_WORDS: Final = {
    "<": "below",
    ">": "above",
    "<=": "at or below",
    ">=": "at or above",
    "=": "equal to",
    "!=": "other than",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A condition that compares one column with one number.

    Attributes:
        column: In lower case.
        sign: `<`, `<=`, `>`, `>=`, `=` or `!=`.
        bound: The number as the rule writes it.
    """

    column: str
    sign: str
    bound: str

    def holds(self, value: float) -> bool:
        """Whether a value of the column meets the condition."""
        bound = float(self.bound)
        match self.sign:
            case "<":
                return value < bound
            case "<=":
                return value <= bound
            case ">":
                return value > bound
            case ">=":
                return value >= bound
            case "=":
                return value == bound
        return value != bound

    def __str__(self) -> str:
        """`above 0.2`."""
        return f"{_WORDS[self.sign]} {self.bound}"


def comparison(condition: str | None) -> Comparison | None:
    """Read a condition that is one comparison with a number; None where it is more than that."""
    if found := _SIMPLE.fullmatch(condition or ""):
        column, sign, bound = found.groups()
    elif found := _TURNED.fullmatch(condition or ""):
        bound, sign, column = found.groups()
        sign = _MIRRORED.get(sign, sign)
    else:
        return None
    return Comparison(column.lower(), {"==": "=", "<>": "!="}.get(sign, sign), bound)


def clean(text: str) -> str:
    """Drop what no screen shows as it is: control characters, marks of direction, halves of characters."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\u2028", "\n").replace("\u2029", "\n"))
    return "".join(c if c == "\n" or unicodedata.category(c) != "Cc" else " " for c in text)


def line(text: str, most: int) -> str:
    """One line of at most `most` characters; a mark shows where the end was cut."""
    return cut(" ".join(clean(text).split()), most)


def lines(text: str, most: int) -> list[str]:
    """The lines of a longer text, of at most `most` characters together."""
    kept = cut("\n".join(each.rstrip() for each in clean(text).strip().split("\n")), most)
    return kept.split("\n")


def cut(text: str, most: int) -> str:
    """The text, or as much of it as fits before `…`."""
    if length(text) <= most:
        return text
    kept = text[: max(most - 1, 0)]
    while kept and length(kept) > most - 1:
        kept = kept[:-1]
    return kept.rstrip() + "…" if most > 0 else ""


def length(text: str) -> int:
    """How long services count a text to be: some count characters, some the 16-bit halves of emoji."""
    return len(text) + sum(c > "\uffff" for c in text)


def number(value: float | None) -> str:
    """A number with up to four digits that matter, `1,234` in groups; `none` where there is none."""
    if value is None or not math.isfinite(value):
        return "none" if value is None else str(value)
    if abs(value) >= 10_000 or (value == int(value) and abs(value) < 1e15):
        return f"{round(value):,}" if abs(value) < 1e15 else f"{value:.4g}"
    return f"{value:.4g}"


def told(value: Any) -> str:
    """Any value of a row, in a few words."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return number(value)
        case datetime():
            return moment(value)
    return str(value)


def percent(share: float) -> str:
    """A share as `96%`, with what is left of small ones."""
    return f"{share * 100:.3g}%"


def moment(at: datetime) -> str:
    """A time to the minute, or to the second where it has one, in UTC as the name says."""
    return f"{at:%Y-%m-%d %H:%M}{f':{at:%S}' if at.second else ''} UTC"


def span(start: datetime, end: datetime) -> str:
    """From when to when; the date once where it is the same."""
    form = "%H:%M:%S" if start.second or end.second else "%H:%M"
    if start.date() == end.date():
        return f"{start:%Y-%m-%d} {start.strftime(form)} to {end.strftime(form)} UTC"
    if start == _midnight(start) and end == _midnight(end):
        days = (end - start).days
        last = end - timedelta(days=1)
        return f"{start:%Y-%m-%d} UTC" if days == 1 else f"{start:%Y-%m-%d} to {last:%Y-%m-%d} UTC"
    return f"{start:%Y-%m-%d} {start.strftime(form)} to {end:%Y-%m-%d} {end.strftime(form)} UTC"


def duration(length: timedelta) -> str:
    """The two largest units of a time span, `1d 2h`; `0s` for none."""
    rest = max(int(length.total_seconds()), 0)
    parts = []
    for unit, seconds in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, seconds)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def sparkline(values: Sequence[float | None]) -> str:
    """A bar for each value between the least and the greatest; `·` where there is none.

    Values that are nearly the same give bars of nearly the same height: little moved.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return ""
    least, most = min(known), max(known)
    room = max(most - least, _LITTLE * max(abs(least), abs(most)))
    bottom = (least + most) / 2 - room / 2
    return "".join(
        _GAP if value is None or not math.isfinite(value) else _bar(value - bottom, room) for value in values
    )


def _bar(height: float, room: float) -> str:
    if not room or not math.isfinite(room) or not math.isfinite(height):
        return _BARS[len(_BARS) // 2 - 1]
    place = math.ceil(round(height / room * len(_BARS), 6)) - 1
    return _BARS[min(max(place, 0), len(_BARS) - 1)]


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
