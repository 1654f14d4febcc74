"""What `lapwing up`, `collect` and `serve` become: the supervisor, in a process without the command line."""

import json
import sys
from pathlib import Path

from lapwing_collector.app.processes.orders import Ready
from lapwing_collector.app.processes.supervisor import Supervisor
from lapwing_collector.errors import LapwingError
from lapwing_collector.model.given import Given


def announce(ready: Ready) -> None:
    """Print where to send predictions and where they go."""
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    where = "" if ready.data == Path("lapwing-data") else f" --data {ready.data}"
    lines = [f"{bold}Lapwing {ready.version}{plain} is ready"]
    if ready.address:
        lines.append(f"  send predictions to  {ready.address}")
        lines.append(f"  or over gRPC to      {ready.grpc_address}")
    watched = "look at them on     " if ready.arrangement != "collect" else "health and metrics  "
    lines.append(f"  {watched} {ready.dashboard}")
    lines.append(f"  data directory       {ready.data.resolve()}")
    if ready.arrangement != "collect":
        lines.append(f"  rules                {ready.rules}, targets {ready.targets}")
    lines.append(f'  ask                  lapwing sql "SELECT * FROM models"{where}')
    lines.append("Stop with Ctrl-C.")
    print("\n".join(lines), flush=True)  # noqa: T201  # for the person who started it


def main() -> int:
    """Supervise; returns the exit code."""
    file, told, arrangement = json.loads(sys.argv[1])
    flags = {name: Given(*value) if isinstance(value, list) else value for name, value in told.items()}
    try:
        return Supervisor(None if file is None else Path(file), flags, announce, arrangement).run()
    except LapwingError as error:
        print(f"lapwing: {error}", file=sys.stderr)  # noqa: T201  # this is where errors are told
        return 1


if __name__ == "__main__":
    sys.exit(main())
