"""What `lapwing up` says when it is ready."""

from pathlib import Path

from rich.console import Console

import lapwing
from lapwing_collector.app.project import Project


def announce(project: Project, address: str) -> None:
    """Print where to send predictions and where they go."""
    console = Console(highlight=False)
    data = project.settings.data
    console.print(f"[bold]Lapwing {lapwing.__version__}[/bold] is ready")
    console.print(f"  send predictions to  http://{address}")
    console.print(f"  data directory       {data.resolve()}")
    console.print(f"  rules                {len(project.rules)}, targets {len(project.targets)}")
    where = "" if data == Path("lapwing-data") else f" --data {data}"
    console.print(f'  ask                  lapwing sql "SELECT * FROM models"{where}')
    console.print("Stop with Ctrl-C.")
