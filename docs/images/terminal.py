"""Draws the last lines of what a command printed as an SVG of a terminal.

COLUMNS=130 make demo | python docs/images/terminal.py > docs/images/demo.svg
"""

import re
import sys

from rich.console import Console
from rich.text import Text

LINES = 44


def main() -> None:
    """Read text from standard input, write SVG to standard output."""
    lines = sys.stdin.read().rstrip().splitlines()[-LINES:]
    console = Console(record=True, width=max(len(line) for line in lines), file=sys.stderr, highlight=False)
    for line in lines:
        style = {"✓": "green", "✗": "red"}.get(line[:1], "")
        console.print(Text(line, style=style), overflow="crop", no_wrap=True)
    svg = console.export_svg(title="make demo")
    sys.stdout.write(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))  # no font from another host


main()
