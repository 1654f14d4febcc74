"""`lapwing upgrade`.

Exit codes: 0 all is up to date (now); 1 it could not be done or, with --check, there is something to do.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lapwing_collector.cli.keeping import AsJson, Config, Data, progress

if TYPE_CHECKING:
    from lapwing_collector.app.upkeep.upgrading import Part


def upgrade(
    config: Config = None,
    data: Data = None,
    check: Annotated[bool, typer.Option("--check", help="Only say what would be done.")] = False,
    backup: Annotated[
        Path | None, typer.Option("--backup", help="Copy the data directory into this new folder first.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a data directory of an older version up to date; a collector does it at its start."""
    from lapwing_collector.app.upkeep import upgrading

    flags = {"data": data}
    if check:
        parts = upgrading.look(config, flags)
    else:
        with progress() as tell:
            parts = upgrading.upgrade(config, flags, tell, backup)
    if as_json:
        sys.stdout.write(json.dumps([part.as_dict() for part in parts]) + "\n")
    else:
        sys.stdout.writelines(f"{_told(part, check=check)}\n" for part in parts)
    if check and any(part.old for part in parts):
        raise typer.Exit(1)


def _told(part: "Part", *, check: bool) -> str:
    word = "format" if part.name == "lake" else "schema"
    if part.found is None:
        return f"{part.name:<12} none yet"
    if not part.old:
        return f"{part.name:<12} {word} {part.found}, up to date"
    return f"{part.name:<12} {word} {part.found}, which {'becomes' if check else 'became'} {part.newest}"
