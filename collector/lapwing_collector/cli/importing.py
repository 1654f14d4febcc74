"""`lapwing labels import` and `lapwing predictions import`.

Exit codes: 0 every row was taken, 1 some were not (they are told by line), or nothing could be done.
"""

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from lapwing_collector.cli.keeping import AsJson, Config, Data, Tell, progress, say
from lapwing_collector.cli.output import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lapwing_collector.app.importing.imports import Imported

labels_app = typer.Typer(help="Import labels, the truth about predictions, from files.", no_args_is_help=True)
predictions_app = typer.Typer(help="Import predictions of the past from files.", no_args_is_help=True)

_SHOWN: Final = 20

File = Annotated[Path, typer.Argument(help="CSV (.csv, .tsv) or Parquet (.parquet) file with a header.")]
Model = Annotated[str, typer.Option("--model", help="The model.")]
Rejects = Annotated[
    Path | None, typer.Option("--rejects", help="Write rows that are not taken here, as CSV: line, reason.")
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        help="URL of a collector elsewhere; headers and certificates come from OpenTelemetry's variables.",
    ),
]


def _column(name: str, what: str) -> Any:
    return typer.Option(name, help=f"Column {what}")


@labels_app.command("import")
def import_labels(  # noqa: PLR0917  # each is an option
    file: File,
    model: Model,
    on: Annotated[
        str,
        typer.Option(
            "--on", help="What rows name predictions by: prediction_id, request_id, tags.NAME or inputs.NAME."
        ),
    ] = "prediction_id",
    key: Annotated[
        str | None, _column("--key", "that names the prediction; as --on says by default.")
    ] = None,
    label: Annotated[
        str | None, _column("--label", "with the truth: label, truth, target … or label.* .")
    ] = None,
    time: Annotated[
        str | None, _column("--time", "that says when the truth became known: time …; else it is now.")
    ] = None,
    prediction_time: Annotated[
        str | None,
        _column("--prediction-time", "that says when the prediction was made; else it is looked up."),
    ] = None,
    source: Annotated[str | None, _column("--source", "that says where the truth comes from.")] = None,
    new_model: Annotated[
        bool,
        typer.Option("--new-model", help="Take labels of a model of which no prediction has come yet."),
    ] = False,
    rejects: Rejects = None,
    endpoint: Endpoint = None,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Import labels from a file, whether the collector runs or not; doing it twice changes nothing."""
    from lapwing_collector.app.importing.imports import import_labels as work

    columns = {
        "key": key,
        "label": label,
        "time": time,
        "prediction_time": prediction_time,
        "source": source,
    }
    _run(
        lambda tell: work(
            config, {"data": data}, tell, file, model, on, columns, endpoint, new_model=new_model
        ),
        file,
        f"labels of {model}",
        rejects,
        as_json=as_json,
    )


@predictions_app.command("import")
def import_predictions(  # noqa: PLR0917  # each is an option
    file: File,
    model: Model,
    time: Annotated[
        str | None, _column("--time", "that says when predictions were made: time, timestamp …")
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option("--output", help="Column that is an output, or NAME=COLUMN; may be repeated."),
    ] = None,
    key: Annotated[str | None, _column("--key", "with prediction ids; else they are made.")] = None,
    version: Annotated[str | None, typer.Option("--model-version", help="Version, for rows without.")] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", help="production, shadow or candidate, for rows without.")
    ] = None,
    rejects: Rejects = None,
    endpoint: Endpoint = None,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Import predictions from a file, whether the collector runs or not; doing it twice changes nothing."""
    from lapwing_collector.app.importing.imports import import_predictions as work

    _run(
        lambda tell: work(
            config, {"data": data}, tell, file, model, time, output or [], key, version, stage, endpoint
        ),
        file,
        f"predictions of {model}",
        rejects,
        as_json=as_json,
    )


def _run(
    work: "Callable[[Tell], Imported]", file: Path, what: str, rejects: Path | None, *, as_json: bool
) -> None:
    with progress() as tell:
        done = work(tell)
    if rejects is not None:
        with rejects.open("w", newline="", encoding="utf-8") as written:
            writer = csv.writer(written)
            writer.writerow(["line", "reason"])
            writer.writerows((reject.line, reject.reason) for reject in done.rejected)
    else:
        for reject in done.rejected[:_SHOWN]:
            typer.echo(printable(f"{file}:{reject.line}: {reject.reason}"), err=True)
        if len(done.rejected) > _SHOWN:
            typer.echo(f"and {len(done.rejected) - _SHOWN:,} more; --rejects FILE keeps them all", err=True)
    for column in done.left_out:
        text = f"column {column} is left out: `lapwing labels import` brings labels"
        typer.echo(printable(text), err=True)
    if done.unknown:
        typer.echo(printable(f"{done.unknown}: the labels count once one comes"), err=True)
    said: Mapping[str, Any] = {
        "imported": done.stored,
        "known": done.known,
        "rejected": len(done.rejected),
    }
    text = f"imported {done.stored:,} {what}"
    if done.known is None:
        text += "; those that were known already are stored once"
    elif done.known:
        text += f", of which {done.known:,} were known already"
    if done.rejected:
        text += f"; {len(done.rejected):,} rows were not taken"
    say(said, text, as_json=as_json)
    if done.rejected:
        sys.exit(1)
