"""How commands that stay give way to the supervisor, of which this process need not import anything."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

_SUPERVISOR: Final = "lapwing_collector.cli.up"


def become_supervisor(file: Path | None, flags: Mapping[str, Any], arrangement: str) -> NoReturn:
    """Run the supervisor in the place of this process, a third of its size.

    Args:
        file: The settings file, if any.
        flags: Settings given on the command line, by dotted name.
        arrangement: Which parts are to run.
    """
    told = json.dumps([file, flags, arrangement], default=str)
    # -P: a module of the folder that a person happens to be in is none of ours.
    os.execv(sys.executable, [sys.executable, "-P", "-m", _SUPERVISOR, told])  # noqa: S606  # our own
