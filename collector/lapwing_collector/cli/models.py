"""`lapwing models`: which models there are, and what became of their fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pyarrow as pa

models_app = typer.Typer(help="List models and what became of their fields.")

Config = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file; lapwing.yaml of this folder if there is one."),
]
Data = Annotated[Path | None, typer.Option("--data", help="Data directory; ./lapwing-data by default.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """List the models with their tables and versions."""
    if context.invoked_subcommand is None:
        from lapwing_collector.app.models import list_models

        _print(list_models(config, {"data": data}), as_json=as_json)


@models_app.command("show")
def show(
    model: Annotated[str, typer.Argument(help="The model.")],
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show a model's fields: their types, and how many rows have the value in `extra` instead."""
    from lapwing_collector.app.models import describe_model

    _print(describe_model(config, {"data": data}, model), as_json=as_json)


@models_app.command("check")
def check(files: Annotated[list[Path], typer.Argument(help="Files that describe models.")]) -> None:
    """Check files that describe models; every mistake is named with file, line, key and what was expected."""
    from lapwing_collector.app.project import read_model_files

    models = read_model_files(files)
    typer.echo(f"{len(models)} models in {len(files)} files are fine")


def _print(rows: pa.Table, *, as_json: bool) -> None:
    from lapwing_collector.cli.output import write_table, write_text

    if as_json:
        text = json.dumps(rows.to_pylist(), default=str, ensure_ascii=False)
        write_text(f"{text}\n", as_json=True)
    else:
        write_table(rows)
