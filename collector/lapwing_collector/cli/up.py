"""What `lapwing up` becomes: the supervisor, in a process that has nothing of the command line any more."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from lapwing_collector.app.orders import Ready
from lapwing_collector.app.supervisor import Supervisor
from lapwing_collector.errors import LapwingError


def become_supervisor(file: Path | None, flags: Mapping[str, Any]) -> NoReturn:
    """Run the supervisor in the place of this process, a third of its size.

    Args:
        file: The settings file, if any.
        flags: Settings given on the command line, by dotted name.
    """
    told = json.dumps([file, flags], default=str)
    # -P: a module of the folder that a person happens to be in is none of ours.
    os.execv(sys.executable, [sys.executable, "-P", "-m", __name__, told])  # noqa: S606  # our own


def announce(ready: Ready) -> None:
    """Print where to send predictions and where they go."""
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    where = "" if ready.data == Path("lapwing-data") else f" --data {ready.data}"
    lines = [
        f"{bold}Lapwing {ready.version}{plain} is ready",
        f"  send predictions to  {ready.address}",
        f"  or over gRPC to      {ready.grpc_address}",
        f"  look at them on      {ready.dashboard}",
        f"  data directory       {ready.data.resolve()}",
        f"  rules                {ready.rules}, targets {ready.targets}",
        f'  ask                  lapwing sql "SELECT * FROM models"{where}',
        "Stop with Ctrl-C.",
    ]
    print("\n".join(lines), flush=True)  # noqa: T201  # for the person who started it


def main() -> int:
    """Supervise; returns the exit code."""
    file, flags = json.loads(sys.argv[1])
    try:
        return Supervisor(None if file is None else Path(file), flags, announce).run()
    except LapwingError as error:
        print(f"lapwing: {error}", file=sys.stderr)  # noqa: T201  # this is where errors are told
        return 1


if __name__ == "__main__":
    sys.exit(main())
