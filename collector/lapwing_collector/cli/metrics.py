"""`lapwing metrics`: which metrics queries can call, what they are and what is behind them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator


def metrics(
    name: Annotated[str | None, typer.Argument(help="One metric; without it all are listed.")] = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL behind the metric.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """List the metrics that queries and rules can call, or say what one is and how it is computed."""
    from lapwing_collector.app.serving.metrics import describe_metric, list_metrics
    from lapwing_collector.cli.output import write_text

    if name is None:
        if sql:
            raise typer.BadParameter("name the metric whose SQL to print", param_hint="--sql")
        listed = list_metrics()
        if as_json:
            write_text(json.dumps(listed, ensure_ascii=False) + "\n", as_json=True)
        else:
            write_text("\n".join(_list(listed)) + "\n")
        return
    described = describe_metric(name)
    if as_json:
        write_text(json.dumps(described, ensure_ascii=False) + "\n", as_json=True)
    elif sql:
        write_text(described["sql"])
    else:
        write_text("\n".join(_lines(described)) + "\n")


def _list(listed: list[dict[str, Any]]) -> Iterator[str]:
    width = max(len(each["name"]) for each in listed)
    group = ""
    for each in listed:
        if each["group"] != group:
            group = each["group"]
            yield f"\n{group}"
        yield f"  {each['name']:<{width}}  {each['summary']}"


def _lines(described: dict[str, Any]) -> Iterator[str]:
    yield f"{described['name']} ({described['group']})"
    yield f"  {described['summary']}"
    yield ""
    yield f"  {described['call']}"
    yield ""
    yield f"formula  {described['formula']}"
    yield f"source   {described['source']}"
    if described["needs"]:
        yield f"needs    {', '.join(described['needs'])}"
    for each in described["parameters"]:
        if each["meaning"]:
            yield f"  {each['name']}: {each['meaning']}"
    yield f"example  {described['example']}"
