"""`lapwing models`: which models there are, and what became of their fields."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from lapwing_collector.cli.keeping import AsJson, Config, Data, progress

models_app = typer.Typer(help="List models and what became of their fields.")


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """List the models with their tables and versions."""
    if context.invoked_subcommand is None:
        from lapwing_collector.app.answers.asking import Asking
        from lapwing_collector.app.answers.models import asking_rows, jsonable, list_models
        from lapwing_collector.cli.output import write_table

        with Asking.over(config, {"data": data}) as asking:
            rows = list_models(asking_rows(asking))
        if as_json:
            _write_json(jsonable(rows))
        else:
            write_table(rows)


@models_app.command("show")
def show(
    model: Annotated[str, typer.Argument(help="The model.")],
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show what is known of a model, where each value comes from, and what became of its fields."""
    import pyarrow as pa

    from lapwing_collector.app.answers.asking import Asking
    from lapwing_collector.app.answers.models import asking_rows, describe_model
    from lapwing_collector.cli.output import write_table

    with Asking.over(config, {"data": data}) as asking:
        described = describe_model(asking_rows(asking), model)
    if as_json:
        _write_json(described)
    else:
        write_table(pa.Table.from_pylist(list(_known(described))))
        write_table(pa.Table.from_pylist([_field(field) for field in described["fields"]]))


@models_app.command("check")
def check(files: Annotated[list[Path], typer.Argument(help="Files that describe models.")]) -> None:
    """Check files that describe models; every mistake is named with file, line, key and what was expected."""
    from lapwing_collector.app.places.project import read_model_files

    models = read_model_files(files)
    typer.echo(f"{len(models)} models in {len(files)} files are fine")


@models_app.command("retype")
def retype(  # noqa: PLR0917  # typer passes them by name
    model: Annotated[str, typer.Argument(help="The model.")],
    field: Annotated[str, typer.Argument(help="The field, such as inputs.age.")],
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="The type it is to have, such as DOUBLE.")],
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Give a field another type: values in `extra` that fit go to the column, others in it to `extra`."""
    from lapwing_collector.app.upkeep.keeping import retype as work

    with progress() as tell:
        done = work(config, {"data": data}, tell, model, field, kind)
    if as_json:
        _write_json(dict(done))
    else:
        typer.echo(
            f"{field} of {model} is {kind} now, in {done['rows']:,} rows: "
            f"{done['into_column']:,} values came from extra, {done['into_extra']:,} went there"
        )


def _known(described: dict[str, Any]) -> Iterator[dict[str, str | None]]:
    """A row for each value, those that are not known, too; features stand with the fields."""
    from lapwing_collector.model.description import PLAIN

    for name in PLAIN:
        value: Any = described.get(name)
        if isinstance(value, list | tuple):
            value = ", ".join(value) or None
        if name == "label_delay" and value is not None:
            value = timedelta(seconds=value)
        source = described.get("sources", {}).get(name)
        yield {"": name, "value": "-" if value is None else str(value), "from": source or "-"}
    if waiting := described["segments_not_counted"]:
        why = "no categories yet: they are made of the first 10,000 rows that have a value"
        yield {"": "segments not counted", "value": ", ".join(waiting), "from": why}
    for key in ("types", "references"):
        for name, value in described.get(key, {}).items():
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield {"": f"{key}.{name}", "value": shown, "from": described["sources"][f"{key}.{name}"]}


def _field(field: dict[str, Any]) -> dict[str, str]:
    """A field's row, with where each value comes from."""
    importance = field["importance"]
    return {
        "field": field["field"],
        "type": field["type"] or "-",
        "feature": f"{field['feature']} ({field['feature_source']})" if field["feature"] else "-",
        "importance": "-" if importance is None else f"{importance:.4g} ({field['importance_source']})",
        "in extra": f"{field['rows_in_extra']:,}",
    }


def _write_json(document: Any) -> None:
    from lapwing_collector.cli.output import write_text

    write_text(json.dumps(document, ensure_ascii=False) + "\n", as_json=True)
