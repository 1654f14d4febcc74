"""Templates, and how values are written in them."""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lapwing_collector.clock import naive_utc, read_utc
from lapwing_collector.model.alerts import RESOLVED_BECAUSE
from lapwing_collector.model.profiles import DURATIONS
from lapwing_collector.web.sessions import local

_FOLDER: Final = Path(__file__).parent / "templates"

_CODE: Final = re.compile(r"`([^`]*)`")
_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, what turns the direction of writing round, and halves of characters."""

_NONE: Final = "\N{EN DASH}"
_AGO: Final = ((86_400 * 365, "y"), (86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SHORTEST_MS: Final = DURATIONS.edges[0]
"""The end of the lowest bin that durations are counted in; pages tell it to their scripts."""
_SCALES: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


class Renderer:
    """Writes pages."""

    def __init__(self, folder: Path = _FOLDER, **everywhere: Any) -> None:
        """Use the templates of `folder`; `everywhere` are names that all of them know."""
        self._environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=seen,
            auto_reload=False,
        )
        self._environment.filters |= _FILTERS
        self._environment.globals |= {"shortest_ms": _SHORTEST_MS} | everywhere

    def page(self, name: str, values: Mapping[str, Any]) -> str:
        """The HTML of a template, by its name without the ending."""
        return self._environment.get_template(f"{name}.html").render(values)


def seen(value: Any) -> Any:
    """What can be seen of a value: what would steer a terminal or a line of text is written out."""
    if value is None:
        return ""
    return _UNSEEN.sub(_escape, value) if isinstance(value, str) and not isinstance(value, Markup) else value


def prose(text: str) -> Markup:
    """What an error says as a sentence of a page: what stands in backticks is code."""
    pieces = _CODE.split(seen(text[:1].upper() + text[1:]))
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(each) if place % 2 else each for place, each in enumerate(pieces))


def number(value: float | None, digits: int = 4) -> str:
    """A number as people read it: `1,234,567`, `0.0312`, a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return _NONE if value is None else str(value)
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.1f}"
    text = f"{value:.{digits}g}"
    return text if "e" not in text or abs(value) < 1e-4 else f"{value:.{digits}f}"


def compact(value: float | None) -> str:
    """A number in few characters: `1.2M`."""
    if value is None:
        return _NONE
    for scale, letter in _SCALES:
        if abs(value) >= scale:
            return f"{value / scale:.3g}{letter}"
    return number(value, 3)


def share(value: float | None, digits: int = 3) -> str:
    """A share as per cent: `3.12 %`."""
    if value is None:
        return _NONE
    percent = value * 100
    return f"{percent:.0f} %" if percent in {0.0, 100.0} else f"{percent:#.{digits}g}".rstrip(".") + " %"


def milliseconds(value: float | None) -> str:
    """A duration that is told in milliseconds: `12.3 ms`, `4.56 s`."""
    if value is None:
        return _NONE
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def milliseconds_from_bins(value: float | None) -> str:
    """The same of a duration that was counted in bins: `≤ 0.01 ms` is the lowest one."""
    return ("≤ " if value == _SHORTEST_MS else "") + milliseconds(value)


def exact(value: Any) -> str:
    """A value as an address has it, and as DuckDB writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def nested(value: Any) -> str:
    """A value of any kind on one line, to the last digit; `2001` may be a year."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False, default=str)


def size(value: float | None) -> str:
    """A number of bytes: `1.5 MiB`."""
    if value is None:
        return _NONE
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} TiB"


def span_of(value: float | timedelta | None) -> str:
    """How long something takes, in its largest units: `3 d`, `1 h 20 min`."""
    if value is None:
        return _NONE
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    whole = round(seconds)
    parts = []
    for length, unit in _AGO:
        if whole >= length:
            parts.append(f"{whole // length} {unit}")
            whole %= length
    return " ".join(parts[:2]) or "0 s"


def moment(value: datetime | str | None, now: datetime | None = None) -> str | Markup:
    """A time in UTC, as an element that tells it exactly; and how long ago that is, where `now` is given."""
    at = _naive(value)
    if at is None:
        return _NONE
    shown = f"{at:%Y-%m-%d %H:%M}"
    element = Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        f"{at.isoformat()}Z", at.isoformat(sep=" "), shown
    )
    return element if now is None else element + Markup(' <span class="ago">{}</span>').format(ago(at, now))


def ago(value: datetime | str | None, now: datetime) -> str:
    """How long ago something was: `3 min ago`, `in 2 h`."""
    at = _naive(value)
    if at is None:
        return _NONE
    seconds = (now - at).total_seconds()
    for length, unit in _AGO:
        if abs(seconds) >= length:
            told = f"{int(abs(seconds) // length)} {unit}"
            return f"{told} ago" if seconds > 0 else f"in {told}"
    return "now"


def sparkline(values: list[float | None]) -> Mapping[str, Any]:
    """What a template draws a small curve of: its lines in a box of 100 by 24, and the last value's place."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = (min(0.0, *known), max(known)) if known else (0.0, 0.0)
    reach = (high - low) or 1.0
    wide = 100 / max(1, len(values) - 1)
    lines: list[list[str]] = [[]]
    last = None
    for place, value in enumerate(values):
        if value is None or not math.isfinite(value):
            lines.append([])
            continue
        last = round(place * wide, 1), round(22 - (value - low) / reach * 20, 1)
        lines[-1].append(f"{last[0]},{last[1]}")
    return {
        "lines": [" ".join(line) for line in lines if len(line) > 1],
        "last": last,
        "low": min(known) if known else None,
        "high": max(known) if known else None,
    }


def _naive(value: datetime | str | None) -> datetime | None:
    if value is None:
        return None
    return read_utc(value) if isinstance(value, str) else naive_utc(value)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "number": number,
    "compact": compact,
    "share": share,
    "ms": milliseconds,
    "ms_from_bins": milliseconds_from_bins,
    "size": size,
    "exact": exact,
    "nested": nested,
    "local": local,
    "span": span_of,
    "moment": moment,
    "ago": ago,
    "prose": prose,
    "because": lambda reason: RESOLVED_BECAUSE.get(reason or "", reason or ""),
    "sparkline": sparkline,
}
