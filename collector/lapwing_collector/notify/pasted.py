"""What people paste, as an Apprise address: links that services give out, mail addresses, Apprise's own."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from lapwing_collector.errors import ConfigError

_MAIL: Final = re.compile(r"(?:mailto:)?([^\s@:/?]+@[^\s@:/?]+\.[^\s@:/?]+)")
_TELEGRAM: Final = re.compile(r"https://api\.telegram\.org/bot(\d+:[\w-]+)/?\w*\?(?:.*&)?chat_id=(-?\w+)")
_SERVICES: Final = "https://appriseit.com/services/"
_KEYS_ONLY: Final = {
    "events.pagerduty.com": "pagerduty://INTEGRATION_KEY@SOURCE (of an integration of type Events API v2)",
    "api.opsgenie.com": "opsgenie://API_KEY",
    "api.telegram.org": "tgram://BOT_TOKEN/CHAT_ID",
    "slack.com": "the link of an incoming webhook, https://hooks.slack.com/services/…",
    "discord.com": "the link of a webhook, https://discord.com/api/webhooks/…",
}


@dataclass(frozen=True, slots=True)
class MailServer:
    """Through which server mails go out.

    Attributes:
        host: Its name.
        port: None for the usual one.
        user: Who logs in there; None where nobody has to.
        password: With what.
        sender: Who the mails are from.
        tls: Whether the connection is encrypted.
    """

    host: str
    port: int | None
    user: str | None
    password: str | None
    sender: str
    tls: bool = True


@dataclass(frozen=True, slots=True)
class Pasted:
    """What was recognised.

    Attributes:
        service: What people call the service: `Slack`.
        name: What a target may be called.
        url: The Apprise address; a secret.
    """

    service: str
    name: str
    url: str


def recognise(text: str, mail: MailServer | None = None) -> Pasted:
    """Make an Apprise address of what somebody pasted.

    Raises:
        ConfigError: It is none that could be told anything; the message says what would be, and leaves it
        out.
    """
    from lapwing_collector.notify.services import service_of  # noqa: PLC0415  # as in `target`

    text = text.strip().strip("<>\"'")
    if found := _MAIL.fullmatch(text):
        return _mail_to(found[1], mail)
    if "://" not in text:
        raise ConfigError(
            "this is no address: paste the link that the service gives out, a mail address, "
            f"or an Apprise address ({_SERVICES})"
        )
    if telegram := _TELEGRAM.match(text):
        text = f"tgram://{telegram[1]}/{telegram[2]}"
    if known := service_of(text):
        scheme, service = known
        return Pasted(service, "webhook" if scheme in ("json", "jsons") else scheme, text)
    link = urlsplit(text)
    if link.scheme not in ("http", "https"):
        raise ConfigError(
            f"Apprise knows no service {link.scheme}://; {_SERVICES} lists those that there are"
        )
    host = link.hostname or ""
    for named, wanted in _KEYS_ONLY.items():
        if host == named or host.endswith("." + named):
            raise ConfigError(f"this link of {named} says nothing about where to send; paste {wanted}")
    return Pasted("a webhook", f"webhook-{host.split('.')[0]}", _webhook(text))


def _mail_to(address: str, server: MailServer | None) -> Pasted:
    from lapwing_collector.notify.services import Service  # noqa: PLC0415  # as in `target`

    if server is None:
        raise ConfigError(
            "a mail needs a server that sends it: add --smtp HOST[:PORT], "
            "with --user NAME if one has to log in"
        )
    login = ""
    if server.user is not None:
        login = f"{quote(server.user, safe='')}:{quote(server.password or '', safe='')}@"
    port = "" if server.port is None else f":{server.port}"
    said = {"smtp": server.host, "from": server.sender, "to": address}
    if server.tls and server.port == 465:
        said["mode"] = "ssl"
    scheme = "mailtos" if server.tls else "mailto"
    name = re.sub(r"[^a-z0-9]+", "-", address.partition("@")[0].lower()).strip("-")
    url = f"{scheme}://{login}{server.host}{port}?{urlencode(said)}"
    try:
        Service(url)
    except ValueError as error:
        raise ConfigError(
            f"Apprise sends no mail from {server.sender} to {address}: say who mails are from with "
            "--from NAME@DOMAIN, in letters without accents"
        ) from error
    return Pasted("mail", f"mail-{name}", url)


def _webhook(link: str) -> str:
    """A link as the address of a plain webhook; Apprise marks what goes into the query with a minus."""
    scheme, _, rest = link.partition("://")
    place, _, query = rest.partition("?")
    marked = "&".join("-" + part for part in query.partition("#")[0].split("&") if part)
    return f"{'jsons' if scheme == 'https' else 'json'}://{place}" + (f"?{marked}" if marked else "")
