"""`lapwing dead` and `lapwing requeue`: messages that their targets did not accept."""

import json
from typing import Annotated, Any, Final

import typer

from lapwing_collector.cli.keeping import AsJson, Config, Data

_KEY_CHARS: Final = 8
"""Characters of a key that tell it from others well enough."""

Target = Annotated[str | None, typer.Option("--target", help="Those of this target only.")]


def add_commands(app: typer.Typer) -> None:
    """Give the command line these commands."""
    for command in (dead, requeue):
        app.command()(command)


def dead(target: Target = None, config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """List the messages that were given up, with the reason; `lapwing requeue` sends them again."""
    import pyarrow as pa

    from lapwing_collector.app.alerts.undelivered import list_dead
    from lapwing_collector.cli.output import write_table, write_text

    found = list_dead(config, {"data": data}, target)
    if as_json:
        write_text(json.dumps(found, ensure_ascii=False) + "\n", as_json=True)
    elif not found:
        write_text("no message was given up\n")
    else:
        write_table(pa.Table.from_pylist([_row(message) for message in found]))


def requeue(  # noqa: PLR0917  # typer passes them by name
    keys: Annotated[
        list[str] | None, typer.Argument(help="Keys that `lapwing dead` shows, or their first characters.")
    ] = None,
    target: Target = None,
    every: Annotated[bool, typer.Option("--all", help="All that were given up.")] = False,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Send messages again that were given up, under their old keys."""
    from lapwing_collector.app.alerts.undelivered import Wanted
    from lapwing_collector.app.alerts.undelivered import requeue as work
    from lapwing_collector.cli.output import write_text

    if [bool(keys), target is not None, every].count(True) != 1:
        raise typer.BadParameter("say which: some KEYs, --target NAME, or --all")
    done = work(config, {"data": data}, Wanted(tuple(keys or ()), target))
    if as_json:
        write_text(json.dumps(done, ensure_ascii=False) + "\n", as_json=True)
        return
    write_text(f"{len(done['queued'])} messages are queued again\n")
    for message in done["outdated"]:
        write_text(
            f"{message['key'][:_KEY_CHARS]}: stays as it is, "
            f"{message['target']} was told something newer about these alerts\n"
        )


def _row(message: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": message["key"][:_KEY_CHARS],
        "target": message["target"],
        "since": message["created_at"],
        "attempts": message["attempts"],
        "title": message["title"],
        "error": message["error"] or "",
    }
