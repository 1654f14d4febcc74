"""Tables of text: a row is a line, however narrow the terminal; or a record is a block of lines.

What does not fit is cut, and said to be: of texts first, then columns in the middle. Numbers are never cut,
as what is left of one looks like another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size

_GAP: Final = "  "
_LEFT_OUT: Final = "…"
_LEAST: Final = 12
"""How many characters of a text are worth a column."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column to show.

    Attributes:
        name: What stands above it.
        cells: Its texts, each on one line.
        is_number: Whether they are numbers, which stand to the right.
    """

    name: str
    cells: Sequence[str]
    is_number: bool = False

    @property
    def width(self) -> int:
        """How wide it is, whole."""
        return max(map(cell_len, (self.name, *self.cells)))

    @property
    def least(self) -> int:
        """How narrow it can be."""
        return self.width if self.is_number else min(self.width, _LEAST)

    def lines(self, width: int) -> Iterator[str]:
        """Name, rule and cells, each so wide."""
        for place, text in enumerate((self.name, "", *self.cells)):
            length = cell_len(text)
            if place == 1:
                yield "─" * width
            elif length > width:
                yield set_cell_size(text, width - 1) + _LEFT_OUT
            else:
                blank = " " * (width - length)
                yield blank + text if self.is_number else text + blank


def fitted(columns: Sequence[Column], width: int | None) -> tuple[list[str], int]:
    """The lines of a table, and how many columns are not in it.

    Args:
        columns: At least one.
        width: Of the terminal; None where there is none, and nothing is left out.
    """
    if width is None:
        return _joined(columns, [column.width for column in columns]), 0
    first, last = _halves(columns, width)
    left_out = len(columns) - len(first) - len(last)
    mark = [Column(_LEFT_OUT, [_LEFT_OUT] * len(columns[0].cells))] if last and left_out else []
    shown = [*first, *mark, *last]
    room = width - len(_GAP) * (len(shown) - 1)
    least = [column.least for column in shown]
    whole = [column.width for column in shown]

    def widths(most: int) -> list[int]:
        return [max(few, min(full, most)) for few, full in zip(least, whole, strict=True)]

    found = next(
        (tried for most in range(width, -1, -1) if sum(tried := widths(most)) <= room), [max(room, 1)]
    )
    return _joined(shown, found), left_out


def expanded(columns: Sequence[Column], width: int | None) -> Iterator[str]:
    """A block of lines for each record, a line for each of its fields; nothing is cut.

    Args:
        columns: At least one.
        width: Of the terminal, which the lines between blocks reach to.
    """
    names = max(cell_len(column.name) for column in columns)
    values = max(
        cell_len(line) for column in columns for cell in ("", *column.cells) for line in cell.split("\n")
    )
    end = names + len(_GAP) + values
    for row in range(len(columns[0].cells)):
        title = f"─ {row + 1} "
        yield title + "─" * (min(end, width or end) - len(title))
        for column in columns:
            first, *more = column.cells[row].split("\n")
            yield f"{set_cell_size(column.name, names)}{_GAP}{first}".rstrip()
            yield from (f"{' ' * names}{_GAP}{line}".rstrip() for line in more)


def _halves(columns: Sequence[Column], width: int) -> tuple[Sequence[Column], Sequence[Column]]:
    """The columns that fit, from both ends: those in the middle are left out."""
    if _least(columns) <= width:
        return columns, ()
    for count in range(len(columns) - 1, 1, -1):
        first, last = columns[: (count + 1) // 2], columns[len(columns) - count // 2 :]
        if _least([*first, Column(_LEFT_OUT, ()), *last]) <= width:
            return first, last
    return columns[:1], ()


def _least(columns: Sequence[Column]) -> int:
    return sum(column.least for column in columns) + len(_GAP) * (len(columns) - 1)


def _joined(columns: Sequence[Column], widths: Sequence[int]) -> list[str]:
    parts = [column.lines(width) for column, width in zip(columns, widths, strict=True)]
    return [_GAP.join(cells).rstrip() for cells in zip(*parts, strict=True)]
