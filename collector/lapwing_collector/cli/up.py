"""What `lapwing up` becomes: the supervisor, in a process that has nothing of the command line any more."""

import json
import sys
from pathlib import Path

from lapwing_collector.app.orders import Ready
from lapwing_collector.app.supervisor import Supervisor
from lapwing_collector.errors import LapwingError


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
