"""Panels from files: `panels/<page>/<name>.sql`, under a header that is its documentation.

    -- title: Predictions
    -- about: How many came in each step of time, by version.
    --   A second line of it.
    -- parameter field: only this one
    -- step: rows
    SELECT …

`step: rows` says that its times are no steps of the range, so that only they tell how far apart they are.
Where `<name>.rows.sql` stands beside it, that is asked instead for ranges of less than a day: counts by hour
are too coarse for these, and their rows are few.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from lapwing_collector.web.panels.panel import Arguments, Panel, Query, filled

_FOLDER: Final = Path(__file__).parent
_ENTRY: Final = re.compile(r"-- (title|about|step|parameter (\w+)): (.*)")
_MORE: Final = re.compile(r"--   (.*)")
_ROWS: Final = ".rows"
_HOUR: Final = timedelta(hours=1)


def load_panels(folder: Path = _FOLDER) -> dict[str, Panel]:
    """The panels of all files below `folder`, by name.

    Raises:
        ValueError: A file has no title, or says something else in its header.
    """
    files = sorted(folder.glob("*/*.sql"))
    panels = [_panel(file) for file in files if not file.stem.endswith(_ROWS)]
    return {panel.name: panel for panel in panels}


def _panel(file: Path) -> Panel:
    header, sql = _taken_apart(file)
    rows = file.with_name(f"{file.stem}{_ROWS}.sql")
    finer = _sql_of(rows.read_text(encoding="utf-8").splitlines()) if rows.exists() else None
    own = {
        key.removeprefix("parameter "): told for key, told in header.items() if key.startswith("parameter")
    }
    if not header.get("title"):
        raise ValueError(f"{file}: expected a header that begins with '-- title: …'")
    return Panel(
        name=f"{file.parent.name}/{file.stem}",
        title=header["title"],
        about=header.get("about", ""),
        parameters=own,
        make=partial(_made, sql, finer, own, timedelta(0) if header.get("step") == "rows" else None),
    )


def _made(
    sql: str, finer: str | None, own: Mapping[str, str], step: timedelta | None, arguments: Arguments
) -> Query:
    chosen = finer if finer is not None and arguments.span.step < _HOUR else sql
    return replace(filled(chosen, arguments, own), step=step)


def _taken_apart(file: Path) -> tuple[dict[str, str], str]:
    """The header of a file, by key, and its SQL."""
    lines = file.read_text(encoding="utf-8").splitlines()
    header: dict[str, str] = {}
    key = ""
    for number, line in enumerate(lines):
        if found := _ENTRY.fullmatch(line):
            key = found[1]
            header[key] = found[3]
        elif key and (more := _MORE.fullmatch(line)):
            header[key] += f" {more[1]}"
        else:
            return header, _sql_of(lines[number:])
    raise ValueError(f"{file}: there is no SQL in it")


def _sql_of(lines: list[str]) -> str:
    return "\n".join(lines).strip().removesuffix(";")
