"""What `lapwing up` says when it is ready."""

from pathlib import Path

import typer

import lapwing
from lapwing_collector.app.orders import Ready


def announce(ready: Ready) -> None:
    """Print where to send predictions and where they go."""
    where = "" if ready.data == Path("lapwing-data") else f" --data {ready.data}"
    typer.echo(f"{typer.style(f'Lapwing {lapwing.__version__}', bold=True)} is ready")
    typer.echo(f"  send predictions to  {ready.address}")
    typer.echo(f"  or over gRPC to      {ready.grpc_address}")
    typer.echo(f"  data directory       {ready.data.resolve()}")
    typer.echo(f"  rules                {ready.rules}, targets {ready.targets}")
    typer.echo(f'  ask                  lapwing sql "SELECT * FROM models"{where}')
    typer.echo("Stop with Ctrl-C.")
