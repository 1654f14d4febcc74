"""`lapwing sql`: one query over a lake, from a process of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from lapwing_collector.app.directory import DataDirectory
from lapwing_collector.app.project import settings_for
from lapwing_collector.query import Session


def ask(file: Path | None, flags: Mapping[str, Any], sql: str) -> pa.Table:
    """Answer one SELECT over the lake of the data directory that settings and flags name.

    Raises:
        LapwingError: There is no lake, or the SQL is refused or fails.
    """
    directory = DataDirectory(settings_for(file, flags).data)
    session = Session.open(directory.lake)
    try:
        return session.run(sql)
    finally:
        session.close()
