"""SQL of the lake, kept in `sql/lake.sql` under names."""

import re
from importlib.resources import files
from string import Template
from typing import Final


def _read() -> dict[str, str]:
    text = (files(__package__) / "sql" / "lake.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


_STATEMENTS: Final = _read()


def statement(name: str, **values: str) -> str:
    """The named SQL with `$placeholders` put in; values must already be quoted for SQL."""
    return Template(_STATEMENTS[name]).substitute(values)
