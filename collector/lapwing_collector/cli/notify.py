"""`lapwing notify`: who is told."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from lapwing_collector.cli.keeping import AsJson, Config, Data

if TYPE_CHECKING:
    from lapwing_collector.notify import MailServer

_PORT_MAX: Final = 65_535

notify_app = typer.Typer(help="Choose who is told about alerts.", no_args_is_help=True)


@notify_app.command("add")
def add(  # noqa: PLR0917  # typer passes them by name
    address: Annotated[
        str | None,
        typer.Argument(
            help="The link of a webhook, a mail address, or an Apprise address; asked for if left out."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What to call it.")] = None,
    receiver: Annotated[
        str | None, typer.Option("--receiver", help="Who has it; the receiver of the top route by default.")
    ] = None,
    env: Annotated[
        str | None,
        typer.Option("--env", help="Take the address from this variable, now and whenever it is needed."),
    ] = None,
    smtp: Annotated[
        str | None, typer.Option("--smtp", help="For a mail address: the server that sends, HOST[:PORT].")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", help="Who logs in at that server; the password is asked for.")
    ] = None,
    sender: Annotated[str | None, typer.Option("--from", help="Who mails are from.")] = None,
    tls: Annotated[
        bool, typer.Option("--tls/--no-tls", help="Whether that server is spoken to in TLS.")
    ] = True,
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Send a message first; add nothing if that fails.")
    ] = True,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Add a place where alerts are told: find out what service it is, try it, write it into notify.yaml.

    The address is a secret: it goes into a file of its own, that only its owner may read and git leaves out.
    """
    from lapwing_collector.app.alerts.enrolling import enrol
    from lapwing_collector.cli.output import write_text

    if address is not None and env is not None:
        raise typer.BadParameter("say either an address or --env")
    if address is None and env is None:
        address = typer.prompt("Address", hide_input=True)
    added = enrol(
        config,
        address,
        mail=_mail_server(smtp, user, sender, tls=tls),
        name=name,
        receiver=receiver,
        variable=env,
        test=test,
    )
    known = _tell_collector(config, data)
    if as_json:
        document = {
            "name": added.name,
            "service": added.service,
            "receiver": added.receiver,
            "file": str(added.file),
            "secret": added.secret,
            "tested": added.tested,
            "in_use": known is None,
            "problem": known or None,
        }
        write_text(json.dumps(document, ensure_ascii=False) + "\n", as_json=True)
        return
    said = "accepted a message" if added.tested else "was not tried"
    write_text(f"{added.service} {said}\n")
    write_text(f"{added.file}: receiver {added.receiver} tells {added.name}, at ${{{added.secret}}}\n")
    if not added.routed:
        write_text(f"no alert gets there yet: name {added.receiver} in a route\n")
    if known is None:
        write_text("the collector that runs has it\n")
    elif known:
        write_text(f"the collector that runs goes on without it: {known}\n")
    else:
        write_text("the collector reads it when it starts\n")


def _tell_collector(config: Path | None, data: Path | None) -> str | None:
    """Have the collector read the file; None if it did, else why not, which is empty where none runs."""
    from lapwing_collector.app.rule_tools.admin import reload_files
    from lapwing_collector.errors import DataDirectoryError, LapwingError

    try:
        reload_files(config, {"data": data})
    except DataDirectoryError:
        return ""
    except LapwingError as error:
        return str(error)
    return None


def _mail_server(smtp: str | None, user: str | None, sender: str | None, *, tls: bool) -> "MailServer | None":
    from lapwing_collector.notify import MailServer

    if smtp is None:
        if user is not None or sender is not None:
            raise typer.BadParameter("--user and --from belong to --smtp")
        return None
    host, colon, port = smtp.rpartition(":")
    if not colon:
        host, port = smtp, ""
    if not host or (port and not (port.isdecimal() and int(port) <= _PORT_MAX)):
        raise typer.BadParameter("--smtp: expected HOST or HOST:PORT")
    password = typer.prompt("Password", hide_input=True) if user is not None else None
    default = user if user is not None and "@" in user else f"lapwing@{host}"
    return MailServer(host, int(port) if port else None, user, password, sender or default, tls)
