"""`lapwing reference`: what production is compared with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from lapwing_collector.cli.keeping import AsJson, Config, Data

reference_app = typer.Typer(
    help="Set, list and remove what production is compared with.", no_args_is_help=True
)

Model = Annotated[str, typer.Argument(help="The model.")]
Name = Annotated[str, typer.Argument(help="The reference.")]
Version = Annotated[int | None, typer.Option("--version", help="One version of it only.")]


@reference_app.command("set")
def set_(  # noqa: PLR0917  # typer passes them by name
    model: Model,
    name: Annotated[str, typer.Argument(help="What to call it; of this name, the newest version holds.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Parquet or CSV file, a row per prediction.")
    ] = None,
    window: Annotated[
        tuple[str, str] | None, typer.Option("--window", help="Production between two times, in UTC.")
    ] = None,
    rolling: Annotated[
        str | None, typer.Option("--rolling", help="Always what came in so much time before: 28d.")
    ] = None,
    same_hours: Annotated[
        str | None,
        typer.Option("--same-hours", help="Always the same hours of the week in so many weeks before: 4w."),
    ] = None,
    role: Annotated[str, typer.Option("--role", help="What it is for: drift or conditions.")] = "drift",
    keeps_rows: Annotated[
        bool, typer.Option("--rows/--no-rows", help="Whether a sample of its rows is kept beside its counts.")
    ] = True,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Keep what a model is compared with: counts of a file or a past window, or a choice made each time."""
    from lapwing_collector.app.upkeep.keeping import set_reference
    from lapwing_collector.app.upkeep.maintenance import tell_nobody
    from lapwing_collector.app.upkeep.references import rolling as rolling_policy
    from lapwing_collector.app.upkeep.references import same_hours as hours_policy
    from lapwing_collector.cli.output import write_text

    if sum(each is not None for each in (source, window, rolling, same_hours)) != 1:
        raise typer.BadParameter("say what it is: one of --from, --window, --rolling and --same-hours")
    policy: Mapping[str, Any] | None = None
    if rolling is not None:
        policy = rolling_policy(rolling)
    elif same_hours is not None:
        policy = hours_policy(same_hours)
    done = set_reference(
        config,
        {"data": data},
        tell_nobody,
        model=model,
        name=name,
        rows=source,
        window=window,
        policy=policy,
        role=role,
        keeps_rows=keeps_rows,
    )
    for warning in done["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    write_text(
        _told(done, f"reference {name} of {model}, version {done['version']}", as_json=as_json),
        as_json=as_json,
    )


@reference_app.command("list")
def list_(
    model: Annotated[str | None, typer.Argument(help="Of this model only.")] = None,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List references with their versions, what they are for and what they are made of."""
    from lapwing_collector.app.answers.asking import Asking
    from lapwing_collector.app.answers.models import asking_rows, jsonable, list_references
    from lapwing_collector.cli.output import write_table, write_text

    with Asking.over(config, {"data": data}) as asking:
        rows = list_references(asking_rows(asking), model)
    if as_json:
        write_text(json.dumps(jsonable(rows), ensure_ascii=False) + "\n", as_json=True)
    else:
        write_table(rows)


@reference_app.command("remove")
def remove(  # noqa: PLR0917  # typer passes them by name
    model: Model,
    name: Name,
    version: Version = None,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Forget a reference; the bins of the model stay."""
    from lapwing_collector.app.upkeep.keeping import remove_reference
    from lapwing_collector.app.upkeep.maintenance import tell_nobody
    from lapwing_collector.cli.output import write_text

    done = remove_reference(config, {"data": data}, tell_nobody, model=model, name=name, version=version)
    gone = ", ".join(map(str, done["versions"]))
    write_text(
        _told(done, f"reference {name} of {model}: version {gone} is gone", as_json=as_json), as_json=as_json
    )


@reference_app.command("drop-rows")
def drop_rows(  # noqa: PLR0917  # typer passes them by name
    model: Model,
    name: Name,
    version: Version = None,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Forget the rows that are kept of a reference; its counts stay, and drift of counts works on."""
    from lapwing_collector.app.upkeep.keeping import drop_reference_rows
    from lapwing_collector.app.upkeep.maintenance import tell_nobody
    from lapwing_collector.cli.output import write_text

    done = drop_reference_rows(config, {"data": data}, tell_nobody, model=model, name=name, version=version)
    write_text(
        _told(done, f"reference {name} of {model}: {done['rows']:,} rows are gone", as_json=as_json),
        as_json=as_json,
    )


def _told(done: Mapping[str, Any], text: str, *, as_json: bool) -> str:
    if as_json:
        return json.dumps(dict(done)) + "\n"
    fields = f": {done['fields']} fields of {done['rows']:,} rows" if done.get("fields") else ""
    kept = f", {done['rows_kept']:,} of them kept" if done.get("rows_kept") else ""
    return f"{text}{fields}{kept}\n"
