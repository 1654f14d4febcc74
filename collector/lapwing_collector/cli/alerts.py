"""`lapwing alerts`, `why`, `silence`, `ack`, `routes test`: what fires, who was told, who need not be."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from lapwing_collector.cli.keeping import AsJson, Config, Data

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_KEY_CHARS: Final = 8
"""Characters of a fingerprint that tell it from others well enough."""

_FIRST_ROUTE: Final = "{}"
"""What the first route is called, which has no matchers."""

_OWN_COLUMNS: Final = frozenset({"alertname"})

routes_app = typer.Typer(help="Try the routes of the notify file.", no_args_is_help=True)

Alert = Annotated[str, typer.Argument(help="The alert's fingerprint, or its first characters.")]
Comment = Annotated[str, typer.Option("--comment", "-c", help="Why, for the others.")]


def add_commands(app: typer.Typer) -> None:
    """Give the command line these commands."""
    for command in (alerts, why, silence, ack):
        app.command()(command)
    app.add_typer(routes_app, name="routes")


def alerts(config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """List the alerts that are pending or fire, who knows of them, and who has taken them on."""
    from lapwing_collector.app.alerts.alerts import list_alerts, store_of, wall_clock

    with store_of(config, {"data": data}) as store:
        found = list_alerts(store, wall_clock())
    _show(found, [_alert_row(each) for each in found], "no alert is pending or fires", as_json=as_json)


def why(alert: Alert, config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """Tell what became of an alert on its way to people: who was told, who was not, and why."""
    from lapwing_collector.app.alerts.alerts import store_of, wall_clock
    from lapwing_collector.app.alerts.alerts import why as work
    from lapwing_collector.cli.output import write_text

    with store_of(config, {"data": data}) as store:
        found = work(store, alert, wall_clock())
    if not as_json:
        write_text("\n".join(_story(found)) + "\n\n")
    _show(
        found,
        [_message_row(each) for each in found["messages"]],
        "no message speaks of it",
        as_json=as_json,
    )


def silence(  # noqa: PLR0917  # typer passes them by name
    matchers: Annotated[
        list[str] | None,
        typer.Argument(help="Alerts as model=churn or severity=~'page|ticket'; all must match."),
    ] = None,
    alert: Annotated[
        str | None,
        typer.Option("--alert", "-a", help="This alert, by its fingerprint."),
    ] = None,
    span: Annotated[str | None, typer.Option("--for", help="So long: 2h, 7d.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Until then: 2026-01-31T12:00, UTC.")] = None,
    until_resolved: Annotated[
        bool, typer.Option("--until-resolved", help="For as long as such an alert fires.")
    ] = False,
    starts: Annotated[str | None, typer.Option("--from", help="From then on; now by default.")] = None,
    comment: Comment = "",
    end: Annotated[str | None, typer.Option("--end", help="End the silence with this key.")] = None,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Keep alerts from being told for a while, plan maintenance, or list what is silenced.

    Who has heard that an alert fires still hears that it is over.
    """
    from lapwing_collector.app.alerts.alerts import (
        end_silence,
        misspelt_labels,
        silences,
        store_of,
        wall_clock,
    )
    from lapwing_collector.app.alerts.alerts import silence as work
    from lapwing_collector.app.upkeep.keeping import user

    if end is None and (matchers or alert):
        if matchers and alert:
            raise typer.BadParameter("say which alerts: either matchers or --alert")
        if sum(map(bool, (span, until, until_resolved))) != 1:
            raise typer.BadParameter("say how long: one of --for 2h, --until TIME and --until-resolved")
    with store_of(config, {"data": data}) as store:
        if end is not None:
            done = end_silence(store, {"key": end}, wall_clock())
            _show(done, [], f"the silence {end} is over", as_json=as_json)
        elif matchers or alert:
            asked = {
                "matchers": ",".join(matchers or ()) or None,
                "alert": alert,
                "for": span,
                "ends_at": until,
                "until_resolved": until_resolved,
                "starts_at": starts,
                "author": user(),
                "comment": comment,
            }
            asked = {key: value for key, value in asked.items() if value}
            done = work(store, asked, wall_clock())
            told = f"{done['key']}: {done['matchers']} is silenced {_span(done)}"
            if not done["alerts"]:
                near = misspelt_labels(store, config, {"data": data}, done["matchers"])
                meant = f"; did you mean {' and '.join(near.values())}?" if near else ""
                told += f"; it matches no alert now{meant}"
            _show(done, [], told, as_json=as_json)
        else:
            found = silences(store, wall_clock())
            _show(found, [_silence_row(each) for each in found], "nothing is silenced", as_json=as_json)


def ack(  # noqa: PLR0917  # typer passes them by name
    alert: Alert,
    comment: Comment = "",
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take it on no more.")] = False,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Take an alert on: until it resolves it is neither repeated nor escalated."""
    from lapwing_collector.app.alerts.alerts import acknowledge, store_of, wall_clock
    from lapwing_collector.app.upkeep.keeping import user

    asked = {"alert": alert, "author": user(), "comment": comment, "withdraw": withdraw}
    with store_of(config, {"data": data}) as store:
        done = acknowledge(store, asked, wall_clock())
    told = "is repeated and escalated again" if withdraw else f"is acknowledged by {done['acknowledged_by']}"
    _show(done, [], f"{done['fingerprint'][:_KEY_CHARS]} {told}", as_json=as_json)


@routes_app.command("test")
def routes_test(
    labels: Annotated[list[str] | None, typer.Argument(help="Labels of an alert: severity=page.")] = None,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show where an alert with these labels would arrive now, who would hear of it when, or why not."""
    from lapwing_collector.app.alerts.alerts import routes_for

    found = routes_for(config, {"data": data}, ",".join(labels or ()))
    rows = [row for each in found for row in _route_rows(each)]
    _show(found, rows, "nobody is told: there is no notify file", as_json=as_json)


def _show(document: Any, rows: "list[dict[str, Any]]", otherwise: str, *, as_json: bool) -> None:
    from lapwing_collector.cli.output import write_table, write_text

    if as_json:
        write_text(json.dumps(document, ensure_ascii=False) + "\n", as_json=True)
    elif rows:
        import pyarrow as pa

        write_table(pa.Table.from_pylist(rows))
    else:
        write_text(otherwise + "\n")


def _alert_row(alert: "Mapping[str, Any]") -> dict[str, Any]:
    taken = [f"acknowledged by {alert['acknowledged_by']}"] if alert["acknowledged_by"] else []
    return {
        "alert": alert["fingerprint"][:_KEY_CHARS],
        "name": alert["labels"].get("alertname", alert["rule"]),
        "labels": _labels(alert["labels"]),
        "state": alert["state"],
        "since": alert["active_at"] or "",
        "value": "" if alert["value"] is None else f"{alert['value']:.6g}",
        "told": ", ".join([*alert["told"], *(f"{name} ({how})" for name, how in alert["untold"].items())]),
        "": "; ".join(taken + [f"silenced by {key}" for key in alert["silences"]]),
    }


def _story(alert: "Mapping[str, Any]") -> "Iterator[str]":
    """What is known of an alert, in lines."""
    name = alert["labels"].get("alertname", alert["rule"])
    yield f"{name} ({_labels(alert['labels'])}) of {alert['rule']} is {alert['state']}: {alert['verdict']}."
    if (ack := alert["acknowledged"]) is not None:
        said = f": {ack['comment']}" if ack["comment"] else ""
        yield f"It is acknowledged by {ack['acknowledged_by']}{said}."
    for key in alert["silences"]:
        yield f"It is silenced by {key}."
    for group in alert["groups"]:
        shared = f" with {_labels(group['labels'], frozenset())}" if group["labels"] else ""
        way = f"{_route(group['route'])} leads it to {group['receiver']}"
        yield f"{way}, in a group of {group['alerts']}{shared}."
        for target in group["targets"]:
            how = alert["untold"].get(target["name"])
            if how is not None:
                yield f"  {target['name']} has accepted no message about it: the newest is {how}."
                continue
            knows = "believes that it fires" if target["believes_it_fires"] else "does not know that it fires"
            yield f"  {target['name']} {knows}, and was told of the group last at {target['told_at']}."


def _route(identity: str) -> str:
    """A route of a group, which is called by the matchers on the way to it, for the begin of a sentence."""
    below = identity.removeprefix(_FIRST_ROUTE).removeprefix("/")
    return f"The route {below}" if below else "The first route"


def _message_row(message: "Mapping[str, Any]") -> dict[str, Any]:
    return {
        "at": message["at"],
        "target": message["target"],
        "message": message["title"],
        "delivery": message["delivery"],
        "attempts": message["attempts"],
        "why": message["reason"] or "",
    }


def _silence_row(silence: "Mapping[str, Any]") -> dict[str, Any]:
    return {
        "key": silence["key"],
        "alerts": silence["matchers"],
        "when": _span(silence),
        "by": silence["author"],
        "comment": silence["comment"],
    }


def _route_rows(route: "Mapping[str, Any]") -> "Iterator[dict[str, Any]]":
    for target in route["targets"]:
        yield {
            "route": route["route"],
            "receiver": route["receiver"],
            "group": _labels(route["group"], frozenset()),
            "target": target["name"],
            "told": f"after {target['after_s']:g} s"
            if target["after_s"]
            else (f"after {route['group_wait_s']:g} s of group_wait"),
            "kept back": route["kept_back"] or "",
        }


def _span(silence: "Mapping[str, Any]") -> str:
    start = "" if silence["active"] else f"from {silence['starts_at']} "
    return start + ("until it resolves" if silence["until_resolved"] else f"until {silence['ends_at']}")


def _labels(labels: "Mapping[str, str]", without: frozenset[str] = _OWN_COLUMNS) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name not in without)
