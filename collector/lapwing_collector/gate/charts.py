"""Charts as SVG, drawn here: a report must be one file that asks nobody for anything.

Texts are escaped where they are put in; numbers are written by this module alone. Colours come from the
style sheet by class, so that a page in the dark has its own.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Final, TypeGuard

from lapwing_collector.clock import epoch_ns, read_utc, utc_datetime
from lapwing_collector.gate.values import Cell, Chart, Line
from lapwing_collector.gate.words import cell, number, shown

WIDTH: Final = 460
HEIGHT: Final = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 10, 40
_TICKS: Final = 5
_MOST_BARS: Final = 24
"""Categories that have room for their names."""
_MOST: Final = 1e300
_LEAST: Final = 1e-300
"""Numbers that can be told apart in a chart, by what their differences can be."""
_NAME: Final = 14
"""Characters of a category's name."""
_DAY: Final = 86_400.0
_TIMES: Final = (
    *(each * 3600.0 for each in (1, 3, 6, 12)),
    *(each * _DAY for each in (1, 2, 7, 14, 30, 90, 365)),
)
"""Between one mark of a time axis and the next."""
_GAP: Final = 1.5
"""Times of what lies between most points beyond which a line is not drawn from one to the next."""


def svg(chart: Chart) -> str:
    """A chart as one SVG element; empty where there is nothing to draw."""
    drawn = _bars(chart.lines) if chart.kind == "bars" else _lines(chart)
    if not drawn:
        return ""
    label = escape(f"{shown(chart.title)}: {', '.join(shown(line.name) for line in chart.lines)}", quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(drawn)}{"".join(_names(chart))}</svg>'
    )


def _lines(chart: Chart) -> list[str]:
    lines = [_timed(line) for line in chart.lines] if chart.kind == "times" else list(chart.lines)
    points = [
        [(float(x), y) for x, y in zip(line.x, line.y, strict=True) if _is_number(x) and _is_number(y)]
        for line in lines
    ]
    flat = [point for each in points for point in each]
    if not flat:
        return []
    bounds = [each for line in lines for each in (*line.low, *line.high) if _is_number(each)]
    along = [at for at, _ in flat]
    x: _Scale = (_Times if chart.kind == "times" else _Scale).of(along, _LEFT, WIDTH - _RIGHT)
    y = _Scale.of([value for _, value in flat] + bounds, HEIGHT - _BOTTOM, _TOP)
    drawn = [*_grid(y, x)]
    if chart.diagonal:
        drawn.append(_path([(x.low, y.low), (x.high, y.high)], x, y, "chance"))
    far = _GAP * _usual(along) if chart.kind == "times" else math.inf
    for place, (line, each) in enumerate(zip(lines, points, strict=True)):
        for part in _runs(each, far):
            drawn += _band(line, x, y, place, part)
            drawn.append(_path(part, x, y, f"line s{place % 4}"))
        if len(each) <= 40:
            drawn += [
                f'<circle class="dot s{place % 4}" cx="{_at(x(at))}" cy="{_at(y(value))}" r="2.5"/>'
                for at, value in each
            ]
    return drawn


def _timed(line: Line) -> Line:
    """A line over times as one over seconds; what is no time is left out."""
    return Line(line.name, [_seconds(at) for at in line.x], line.y, line.low, line.high)


def _seconds(time: Cell) -> float | None:
    try:
        return epoch_ns(read_utc(str(time))) / 1e9
    except ValueError:
        return None


def _usual(along: Sequence[float]) -> float:
    """What lies between most points that are next to each other."""
    places = sorted(set(along))
    between = sorted(after - before for before, after in pairwise(places))
    return between[len(between) // 2] if between else math.inf


def _runs(points: Sequence[tuple[float, float]], far: float) -> Iterator[list[tuple[float, float]]]:
    """Points that follow each other without a gap: what is not known is not drawn."""
    run: list[tuple[float, float]] = []
    for point in points:
        if run and point[0] - run[-1][0] > far:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def _bars(lines: Sequence[Line]) -> list[str]:
    names = list(dict.fromkeys(name for line in lines for name in line.x))[:_MOST_BARS]
    values = [dict(zip(line.x, line.y, strict=True)) for line in lines]
    heights = [value for each in values for value in each.values() if _is_number(value)]
    if not names or not heights:
        return []
    y = _Scale.of([0.0, *heights], HEIGHT - _BOTTOM, _TOP)
    room = (WIDTH - _LEFT - _RIGHT) / len(names)
    wide = room * 0.8 / len(values)
    drawn = [*_grid(y, None)]
    for at, name in enumerate(names):
        for place, each in enumerate(values):
            value = each.get(name)
            if not _is_number(value):
                continue
            left = _LEFT + room * (at + 0.1) + wide * place
            top, base = min(y(value), y(0.0)), max(y(value), y(0.0))
            drawn.append(
                f'<rect class="bar s{place % 4}" x="{_at(left)}" y="{_at(top)}" width="{_at(wide)}" '
                f'height="{_at(base - top)}"><title>{_text(f"{cell(name)}: {number(value)}")}</title></rect>'
            )
        drawn.append(_category(name, _LEFT + room * (at + 0.5), len(names)))
    return drawn


class _Scale:
    """Values to places on the page."""

    def __init__(self, low: float, high: float, first: float, last: float) -> None:
        self.low, self.high = low, high
        self._first, self._last = first, last

    @classmethod
    def of(cls, values: Sequence[float], first: float, last: float) -> "_Scale":
        """A scale on which all finite values have a place, with round ends."""
        low, high = min(values), max(values)
        if high - low <= max(abs(low), abs(high), _LEAST) * 1e-12:
            reach = max(abs(low), 1.0) / 2
            low, high = low - reach, high + reach
        step = _step(high - low)
        return cls(math.floor(low / step) * step, math.ceil(high / step) * step, first, last)

    def __call__(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self._first + share * (self._last - self._first)

    def ticks(self) -> list[tuple[float, str]]:
        """Round values on it, and how each is written."""
        step = _step(self.high - self.low)
        count = min(round((self.high - self.low) / step), 2 * _TICKS)
        return [(value, number(value)) for value in (self.low + step * each for each in range(count + 1))]


class _Times(_Scale):
    """Seconds since the epoch to places on the page."""

    @classmethod
    def of(cls, values: Sequence[float], first: float, last: float) -> "_Times":
        """A scale from the first time to the last."""
        low, high = min(values), max(values)
        return cls(low, max(high, low + 1), first, last)

    def ticks(self) -> list[tuple[float, str]]:
        """Whole hours or days on it; where it begins if there are none."""
        step = next((each for each in _TIMES if (self.high - self.low) / each <= _TICKS), _TIMES[-1])
        first = math.ceil(self.low / step) * step
        marks = [first + step * at for at in range(int((self.high - first) // step) + 1)] or [self.low]
        shape = "%d %b" if step >= _DAY else "%d %b %H:%M"
        return [(at, f"{utc_datetime(int(at * 1e9)):{shape}}") for at in marks]


def _step(span: float) -> float:
    """A round part of a span, about a fifth."""
    rough = span / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next((times * power for times in (1, 2, 5) if times * power >= rough), 10 * power)


def _grid(y: _Scale, x: _Scale | None) -> Iterator[str]:
    for value, tick in y.ticks():
        at, told = _at(y(value)), _text(tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>'
        yield f'<text class="tick" x="{_LEFT - 6}" y="{at}" text-anchor="end" dy="0.32em">{told}</text>'
    for value, tick in x.ticks() if x is not None else ():
        yield (
            f'<text class="tick" x="{_at(x(value)) if x is not None else 0}" y="{HEIGHT - _BOTTOM + 14}" '
            f'text-anchor="middle">{_text(tick)}</text>'
        )


def _path(points: Sequence[tuple[float, float]], x: _Scale, y: _Scale, kind: str) -> str:
    drawn = " ".join(
        f"{'L' if at else 'M'}{_at(x(here))} {_at(y(value))}" for at, (here, value) in enumerate(points)
    )
    return f'<path class="{kind}" d="{drawn}"/>' if drawn else ""


def _band(
    line: Line, x: _Scale, y: _Scale, place: int, within: Sequence[tuple[float, float]]
) -> Iterator[str]:
    """The interval around a part of a line."""
    ends = [
        (float(at), low, high)
        for at, low, high in zip(line.x, line.low, line.high, strict=False)
        if _is_number(at) and within[0][0] <= at <= within[-1][0] and _is_number(low) and _is_number(high)
    ]
    if len(ends) > 1:
        around = [*((at, high) for at, _, high in ends), *((at, low) for at, low, _ in reversed(ends))]
        drawn = " ".join(f"{_at(x(at))},{_at(y(value))}" for at, value in around)
        yield f'<polygon class="band s{place % 4}" points="{drawn}"/>'


def _names(chart: Chart) -> Iterator[str]:
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    if chart.x:
        yield f'<text class="axis" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{_text(chart.x)}</text>'
    if chart.y:
        height = (HEIGHT - _BOTTOM) / 2
        yield (
            f'<text class="axis" x="12" y="{height}" text-anchor="middle" '
            f'transform="rotate(-90 12 {height})">{_text(chart.y)}</text>'
        )


def _category(name: Cell, at: float, count: int) -> str:
    text = cell(name)
    short = text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"
    y = HEIGHT - _BOTTOM + 12
    turn = f' transform="rotate(-35 {_at(at)} {y})"' if count > 6 else ""
    anchor = "end" if count > 6 else "middle"
    return f'<text class="tick" x="{_at(at)}" y="{y}" text-anchor="{anchor}"{turn}>{_text(short)}</text>'


def _is_number(value: Cell) -> TypeGuard[float]:
    """Whether a value has a place in a chart."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST


def _at(place: float) -> str:
    return f"{place:.1f}"


def _text(text: str) -> str:
    return escape(shown(text), quote=True)
