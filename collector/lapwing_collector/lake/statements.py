"""SQL of the lake, kept under names in `sql/lake.sql`, and in `sql/sharing.sql` what several writers need."""

import re
from importlib.resources import files
from string import Template
from typing import Final


def _read(file: str) -> dict[str, str]:
    text = (files(__package__) / "sql" / file).read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


_STATEMENTS: Final = _read("lake.sql")
_SHARING: Final = _read("sharing.sql")


def statement(name: str, **values: str) -> str:
    """The named SQL with `$placeholders` put in; values must already be quoted for SQL."""
    return Template(_STATEMENTS[name]).substitute(values)


def sharing(name: str, **values: str) -> str:
    """As `statement`, of what several writers of one lake need, for PostgreSQL itself."""
    return Template(_SHARING[name]).substitute(values)
