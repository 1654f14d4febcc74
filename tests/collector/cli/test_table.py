"""Tables on terminals of any width: a row is a line, and what does not fit is said to be cut."""

import fcntl
import os
import struct
import subprocess
import sys
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from lapwing_collector.cli.table import Column, expanded, fitted

ROWS = [
    Column("name", ["a short one", "a long one that goes on and on, and on"]),
    Column("n", ["1", "12345678"], is_number=True),
    Column("middle", ["kept out where it is narrow"] * 2),
    Column("mean", ["0.5", "0.25"], is_number=True),
    Column("last", ["the last column is seen", "x"]),
]


def test_nothing_is_cut_where_there_is_no_terminal() -> None:
    """In a pipe rows are as long as they are, each a line."""
    lines, left_out = fitted(ROWS, None)
    assert left_out == 0
    assert lines[3] == (
        "a long one that goes on and on, and on  12345678  kept out where it is narrow  0.25  x"
    )


def test_texts_are_cut_before_columns_are_left_out() -> None:
    """Where it is narrow texts share what is left, then columns in the middle go; numbers stay whole."""
    lines, left_out = fitted(ROWS, 72)
    assert left_out == 0
    assert lines[3] == "a long one that …  12345678  kept out where i…  0.25  x"
    lines, left_out = fitted(ROWS, 45)
    assert left_out == 1
    assert lines[0].split() == ["name", "n", "…", "mean", "last"]
    assert "12345678" in lines[3]
    lines, left_out = fitted(ROWS, 10)
    assert (left_out, lines[2:]) == (4, ["a short o…", "a long on…"])


texts = st.text(st.characters(blacklist_categories=["Cc", "Cs", "Mn", "Cf", "Zl", "Zp"]), max_size=30)


@given(
    st.integers(1, 6).flatmap(lambda count: st.lists(texts, min_size=count, max_size=count)),
    st.booleans(),
    st.integers(30, 90),
)
def test_no_line_is_wider_than_the_terminal(cells: list[str], is_number: bool, width: int) -> None:
    """Whatever stands in a table, its rows are lines that fit."""
    columns = [Column(cell[:9], [cell], is_number and place % 2 == 1) for place, cell in enumerate(cells)]
    lines, left_out = fitted(columns, width)
    assert len(lines) == 3
    assert max(map(cell_len, lines)) <= width
    assert 0 <= left_out < len(columns)


def test_records_are_blocks_of_lines() -> None:
    """Wide rows can be read one below the other, whole, and lines of a text stay below each other."""
    columns = [Column("id", ["1", "2"], is_number=True), Column("text", ["one\ntwo", "x" * 30])]
    assert list(expanded(columns, 20)) == [
        "─ 1 ────────────────",
        "id    1",
        "text  one",
        "      two",
        "─ 2 ────────────────",
        "id    2",
        "text  " + "x" * 30,
    ]
    assert next(expanded(columns, None)) == "─ 1 " + "─" * 32


SHOW = """
import pyarrow as pa
from lapwing_collector.cli.output import write_table
table = pa.table({f"column{n}": [f"line\\nof {n}"] for n in range(9)})
write_table(table, all_of_it="--expanded")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_real_terminal_gets_what_fits() -> None:
    """On a terminal of 60 columns a row is one line of at most 60; in a pipe all of it is there."""
    mine, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    subprocess.run([sys.executable, "-c", SHOW], stdout=its, env=environment, check=True)
    os.close(its)
    shown = os.read(mine, 10_000).decode().replace("\r\n", "\n").splitlines()
    os.close(mine)
    assert [max(map(len, shown[:3])) <= 60, len(shown)] == [True, 4]
    assert r"line\nof 0" in shown[2]
    assert shown[3] == "4 of 9 columns; --expanded prints them all"
    piped = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, check=True).stdout.decode()
    assert all(rf"line\nof {n}" in piped.splitlines()[2] for n in range(9))
