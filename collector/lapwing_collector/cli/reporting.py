"""`lapwing report`: a look at a window of a model, or at a file, and whether to retrain it.

Exit codes: 0 done, 1 it could not be done (the message says why), 2 wrong usage.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from lapwing_collector.cli.evaluating import (
    Key,
    Label,
    Labels,
    Lake,
    Predicted,
    Reference,
    Score,
    Time,
    TokenFile,
    token_in,
    write_file,
)
from lapwing_collector.cli.keeping import AsJson, Config
from lapwing_collector.cli.output import write_text


def report(  # noqa: PLR0917  # each is an option
    model: Annotated[str, typer.Option("--model", "-m", help="The model.")],
    window: Annotated[
        str | None,
        typer.Option("--window", help="Of production: 7d up to the newest row, or 2026-01-01..2026-02-01."),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="A file of predictions instead, or shadow:7d.")
    ] = None,
    labels: Labels = None,
    reference: Reference = None,
    before: Annotated[
        str | None, typer.Option("--before", help="An earlier window of production to compare with.")
    ] = None,
    enough: Annotated[
        int | None, typer.Option("--enough", min=1, help="Labelled rows that are worth to learn from.")
    ] = None,
    time: Time = None,
    key: Key = None,
    label: Label = None,
    prediction: Predicted = None,
    score: Score = None,
    lake: Lake = None,
    token_file: TokenFile = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page that stands for itself.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Look at a window of a model, or at a file: quality, drift, its data, and whether to retrain it."""
    from lapwing_collector.app.gate.candidates import Wanted
    from lapwing_collector.app.gate.reporting import report as work
    from lapwing_collector.app.gate.tabled import Columns
    from lapwing_collector.gate import ENOUGH, report_page, report_text

    if (window is None) == (data is None):
        raise typer.BadParameter("say what to look at: --window of production, or --data")
    wanted = Wanted(
        model=model,
        data=f"production:{window}" if data is None else data,
        labels=labels,
        reference=reference,
        against=None if before is None else f"production:{before}",
        columns=Columns(time, key, label, prediction, score),
        lake=lake,
        token=token_in(token_file),
    )
    made = work(config, wanted, ENOUGH if enough is None else enough)
    if as_json:
        write_text(json.dumps(made.as_json(), ensure_ascii=False, indent=1) + "\n", as_json=True)
    else:
        write_text(report_text(made))
    if html is not None:
        write_file(html, report_page(made).encode())
