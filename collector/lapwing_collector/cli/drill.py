"""`lapwing fire`: try whether alerts arrive.

Exit codes: 0 every target accepted what it was told, 1 one did not (the output says why), 2 wrong usage.
"""

import json
from typing import Annotated

import typer

from lapwing_collector.cli.keeping import AsJson, Config, Data, progress


def fire(  # noqa: PLR0917  # each is an option
    rule: Annotated[str, typer.Argument(help="The rule, as group/name, or its name alone.")],
    labels: Annotated[
        list[str] | None,
        typer.Argument(
            help="Labels that a row would have, label=value; routes go by them.", show_default=False
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Tell this target alone, whatever the routes say.")
    ] = None,
    value: Annotated[
        float | None, typer.Option("--value", help="The value to tell; that of the condition by default.")
    ] = None,
    resolve: Annotated[
        bool, typer.Option("--resolve/--no-resolve", help="Whether to tell at once that it is over.")
    ] = True,
    wait: Annotated[str, typer.Option("--wait", help="How long to wait for a target.")] = "30s",
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Hold a drill: tell people, marked as [DRILL], of an alert that there is not; show what became of it."""
    from lapwing_collector.app.alerts.drills import fire as work
    from lapwing_collector.cli.output import write_text
    from lapwing_collector.errors import ConfigError

    named = dict(each.partition("=")[::2] for each in labels or [])
    if any("=" not in each for each in labels or []):
        raise ConfigError("fire: expected labels as label=value, such as feature=age")
    asked = {
        "rule": rule,
        "labels": named,
        "target": target,
        "value": value,
        "wait": wait,
        "resolve": resolve,
    }
    with progress() as tell:
        done = work(config, {"data": data}, tell, asked)
    if as_json:
        write_text(json.dumps(dict(done), ensure_ascii=False) + "\n", as_json=True)
    else:
        for each in done["messages"]:
            told = {"sent": "accepted", "dead": "refused", "suppressed": "not told"}.get(each["delivery"])
            why = f": {each['error']}" if each["error"] and each["delivery"] != "sent" else ""
            write_text(f"{each['target']}: {each['status']}: {told or 'not accepted yet'}{why}\n")
            write_text(f"  {each['title']}\n")
    if not done["reached"]:
        raise typer.Exit(1)
