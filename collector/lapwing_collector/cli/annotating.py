"""`lapwing annotate`: a deployment or a note, on the time axis of every chart."""

from typing import Annotated

import typer

from lapwing_collector.cli.keeping import Config, Data


def annotate(  # noqa: PLR0917  # each is an option
    text: Annotated[str, typer.Argument(help="What happened.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="To which model; to all if left out.")
    ] = None,
    version: Annotated[str | None, typer.Option("--version", help="Of which version it is.")] = None,
    deployment: Annotated[bool, typer.Option("--deployment", help="It is a deployment.")] = False,
    at: Annotated[str | None, typer.Option("--at", help="When, 2026-01-31T12:00, in UTC; now.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="When it was over, if it took time.")] = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Note a deployment, or anything else, on the time axis of charts."""
    from lapwing_collector.app.places.project import settings_for
    from lapwing_collector.app.upkeep.keeping import annotate_in, user

    kind = "deployment" if deployment else None
    told = {"text": text, "kind": kind, "model": model, "version": version, "at": at, "until": until}
    said = {name: value for name, value in told.items() if value}
    kept = annotate_in(settings_for(config, {"data": data}), {"author": user(), **said})
    typer.echo(f"noted at {kept['time']}")
    if "warning" in kept:
        typer.echo(f"lapwing: {kept['warning']}", err=True)
