"""The pages that people read, and the blocks of code on them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(page.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "bench/*.md")
    for page in ROOT.glob(pattern)
)

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n+)?```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: Where it stands, from the root.
        line: Of its first line of code.
        code: Its text.
    """

    page: str
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(language: str) -> list[Block]:
    """The blocks in a language on all pages, without those marked `<!-- not run: why -->`."""
    return [
        Block(page, text.count("\n", 0, found.start("code")) + 1, found["code"])
        for page in PAGES
        for text in [(ROOT / page).read_text(encoding="utf-8")]
        for found in _BLOCK.finditer(text)
        if found["language"] == language and not found["reason"]
    ]


def table(page: str, first_column: str) -> list[list[str]]:
    """The rows of the table whose first column has a heading, as lists of cells."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (body,) = re.findall(rf"^\| {first_column} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in body.splitlines()]
