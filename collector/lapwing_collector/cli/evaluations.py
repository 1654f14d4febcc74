"""`lapwing evaluations`: the runs of the gate that are kept, and each again as it was."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lapwing_collector.cli.evaluating import write_file
from lapwing_collector.cli.keeping import AsJson, Config, Data

evaluations_app = typer.Typer(help="List and show the runs of the gate that are kept.")

_SHOWN = ("evaluation_id", "model", "version", "passed", "started_at", "sample_count", "data", "against")


@evaluations_app.callback(invoke_without_command=True)
def list_(
    context: typer.Context,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Of this model only.")] = None,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List the runs that are kept, the newest first."""
    if context.invoked_subcommand is not None:
        return
    import pyarrow as pa

    from lapwing_collector.app.answers.asking import Asking
    from lapwing_collector.app.answers.evaluations import list_evaluations
    from lapwing_collector.app.answers.models import asking_rows
    from lapwing_collector.cli.output import write_table, write_text

    with Asking.over(config, {"data": data}) as asking:
        runs = list_evaluations(asking_rows(asking), model)
    if as_json:
        write_text(json.dumps(runs, ensure_ascii=False) + "\n", as_json=True)
    elif runs:
        write_table(pa.Table.from_pylist([{name: run[name] for name in _SHOWN} for run in runs]))
    else:
        write_text("no run is kept: `lapwing evaluate --lake` or `--keep` keeps them\n")


@evaluations_app.command("show")
def show(
    evaluation: Annotated[str, typer.Argument(help="The id of a run.")],
    html: Annotated[Path | None, typer.Option("--html", help="Write its page.")] = None,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show a run again as it was."""
    from lapwing_collector.app.answers.asking import Asking
    from lapwing_collector.app.answers.evaluations import evaluation_document
    from lapwing_collector.app.answers.models import asking_rows
    from lapwing_collector.cli.output import write_text
    from lapwing_collector.gate import evaluation_of, evaluation_page, text_of

    with Asking.over(config, {"data": data}) as asking:
        document = evaluation_document(asking_rows(asking), evaluation)
    run = evaluation_of(document)
    if as_json:
        write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", as_json=True)
    else:
        write_text(text_of(run))
    if html is not None:
        write_file(html, evaluation_page(run).encode())
