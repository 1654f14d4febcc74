"""Stand-ins for the APIs of notification services, which refuse what the real ones refuse.

What each requires is written down from the service's public reference; a refusal says what is wrong, so that
a test shows it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.opsgenie import OPSGENIE_API_LOOKUP
from apprise.plugins.pagerduty import PAGERDUTY_API_LOOKUP
from apprise.plugins.slack import NotifySlack
from apprise.plugins.telegram import NotifyTelegram

SLACK = "slack://TAAAAAAAA/BAAAAAAAA/CAAAAAAAAAAAAAAAAAAAAAAA"
DISCORD = f"discord://{'1' * 18}/{'d' * 68}"
PAGERDUTY = f"pagerduty://{'k' * 32}@{'a' * 20}"
OPSGENIE = "opsgenie://aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
TELEGRAM = f"tgram://123456789:{'A' * 35}/987654321"

Reply = tuple[int, Any]
Judge = Callable[["Call"], Reply]


@dataclass(frozen=True)
class Call:
    """One request to a service."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Any


@dataclass
class Api:
    """A running stand-in.

    Attributes:
        calls: What came, in order.
        refusals: Why something was refused.
    """

    port: int
    calls: list[Call] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


def _wrong(reason: str) -> Reply:
    return 400, {"error": reason}


def judge_slack(call: Call) -> Reply:
    """Incoming webhooks: a text or attachments, and at most 40 000 characters in all."""
    if not re.fullmatch(r"/T\w+/B\w+/\w+", call.path):
        return 404, "no_service"
    texts = [each.get("text", "") for each in call.body.get("attachments", ())] + [call.body.get("text", "")]
    if not any(texts):
        return 400, "no_text"
    if sum(map(len, texts)) > 40_000:
        return 400, "msg_too_long"
    return 200, "ok"


def judge_discord(call: Call) -> Reply:
    """Execute Webhook: a content of 2 000 characters, or embeds of 6 000 in all, each text 4 096 at most."""
    if not re.fullmatch(r"/\d{17,20}/[\w-]{60,}", call.path):
        return 404, {"code": 10015, "message": "Unknown Webhook"}
    content, embeds = call.body.get("content", ""), call.body.get("embeds", [])
    if not content and not embeds:
        return _wrong("Cannot send an empty message")
    if len(content) > 2000:
        return _wrong("content: must be 2000 or fewer in length")
    if any(len(each.get("description", "")) > 4096 or len(each.get("title", "")) > 256 for each in embeds):
        return _wrong("embeds: too long")
    return 204, None


def judge_teams(call: Call) -> Reply:
    """The workflow that posts a webhook's cards: adaptive cards, 28 KB in all."""
    if call.query.get("sig") is None:
        return 401, {"error": {"code": "AuthorizationFailed"}}
    cards = call.body.get("attachments", [])
    if call.body.get("type") != "message" or not cards:
        return _wrong("expected a message with attachments")
    for card in cards:
        content = card.get("content", {})
        if card.get("contentType") != "application/vnd.microsoft.card.adaptive":
            return _wrong("not an adaptive card")
        if content.get("type") != "AdaptiveCard" or not content.get("body") or "version" not in content:
            return _wrong("an adaptive card without type, version or body")
    if len(json.dumps(call.body)) > 28 * 1024:
        return 413, {"error": "larger than 28 KB"}
    return 202, None


def judge_pagerduty(call: Call) -> Reply:  # noqa: PLR0911  # a refusal for each rule
    """Events API v2: who, what, and under which key."""
    body = call.body
    if not re.fullmatch(r"\w{32}|\w{20}", body.get("routing_key", "")):
        return _wrong("routing_key")
    if body.get("event_action") not in {"trigger", "acknowledge", "resolve"}:
        return _wrong("event_action")
    if len(body.get("dedup_key", "")) > 255:
        return _wrong("dedup_key")
    if body["event_action"] == "trigger":
        event = body.get("payload", {})
        if not 0 < len(event.get("summary", "")) <= 1024 or not event.get("source"):
            return _wrong("payload.summary or payload.source")
        if event.get("severity") not in {"critical", "warning", "error", "info"}:
            return _wrong("payload.severity")
    elif not body.get("dedup_key"):
        return _wrong("a resolve without dedup_key")
    return 202, {"status": "success", "message": "Event processed", "dedup_key": body.get("dedup_key", "new")}


class OpenAlerts:
    """Opsgenie: alerts that are open, by alias; closing one that is not there fails."""

    def __init__(self) -> None:
        self.open: set[str] = set()

    def __call__(self, call: Call) -> Reply:
        """Judge a request."""
        if not call.headers.get("Authorization", "").startswith("GenieKey "):
            return 401, {"message": "API Key is required"}
        if call.path == "/v2/alerts":
            if not 0 < len(call.body.get("message", "")) <= 130 or len(call.body.get("alias", "")) > 512:
                return 422, {"message": "message or alias"}
            self.open.add(call.body["alias"])
            return 202, {"result": "Request will be processed", "requestId": "0"}
        closed = re.fullmatch(r"/v2/alerts/(\w+)/close", call.path)
        if closed is None or call.query.get("identifierType") != ["alias"] or closed[1] not in self.open:
            return 404, {"message": "Alert does not exist"}
        self.open.discard(closed[1])
        return 202, {"result": "Request will be processed", "requestId": "1"}


class _Tags(HTMLParser):
    """The tags that Telegram knows, each closed."""

    known = frozenset({"a", "b", "strong", "i", "em", "u", "s", "code", "pre", "blockquote", "tg-spoiler"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong = ""
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.known:
            self.wrong = f"Unsupported start tag {tag!r}"
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong = f"Unexpected end tag {tag!r}"

    def handle_data(self, data: str) -> None:
        self.text += data


def judge_telegram(call: Call) -> Reply:
    """Bot API sendMessage: a chat and a text of 4 096 characters after its markup was read."""
    if not re.fullmatch(r"/bot\d+:[\w-]{35}/sendMessage", call.path):
        return 404, {"ok": False, "error_code": 404, "description": "Not Found"}
    text, mode = call.body.get("text", ""), call.body.get("parse_mode")
    if mode == "HTML":
        tags = _Tags()
        tags.feed(text)
        tags.close()
        if tags.wrong or tags.open:
            return _wrong(f"can't parse entities: {tags.wrong or tags.open}")
        text = tags.text
    elif mode not in {None, "Markdown", "MarkdownV2"}:
        return _wrong("unsupported parse_mode")
    if not call.body.get("chat_id") or not 0 < len(text) <= 4096:
        return _wrong("message text is empty, too long, or for nobody")
    return 200, {"ok": True, "result": {"message_id": len(text)}}


@contextmanager
def api(judge: Judge, *, tls: trustme.CA | None = None) -> Iterator[Api]:
    """Run a stand-in that answers what `judge` says."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            address = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            call = Call("POST", address.path, parse_qs(address.query), dict(self.headers), json.loads(raw))
            service.calls.append(call)
            status, told = judge(call)
            if status >= 400:
                service.refusals.append(f"{status} {told}")
            text = b"" if told is None else (told if isinstance(told, str) else json.dumps(told)).encode()
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = _context(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    service = Api(server.server_address[1])
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _context(authority: trustme.CA) -> Any:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@contextmanager
def slack(patch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Run Slack, where the address SLACK leads."""
    with api(judge_slack) as service:
        patch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{service.port}")
        yield service


@contextmanager
def discord(patch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Run Discord, where the address DISCORD leads."""
    with api(judge_discord) as service:
        patch.setattr(NotifyDiscord, "notify_url", f"http://127.0.0.1:{service.port}")
        yield service


@contextmanager
def pagerduty(patch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Run PagerDuty, where the address PAGERDUTY leads."""
    with api(judge_pagerduty) as service:
        patch.setitem(PAGERDUTY_API_LOOKUP, "us", f"http://127.0.0.1:{service.port}/v2/enqueue")
        yield service


@contextmanager
def opsgenie(patch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Run Opsgenie, where the address OPSGENIE leads."""
    with api(OpenAlerts()) as service:
        patch.setitem(OPSGENIE_API_LOOKUP, "us", f"http://127.0.0.1:{service.port}/v2/alerts")
        yield service


@contextmanager
def telegram(patch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Run Telegram, where the address TELEGRAM leads."""
    with api(judge_telegram) as service:
        patch.setattr(NotifyTelegram, "notify_url", f"http://127.0.0.1:{service.port}/bot")
        yield service


@contextmanager
def teams(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[tuple[Api, str]]:
    """Run a workflow of Teams over TLS; yields its address, too."""
    authority = trustme.CA()
    bundle = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    patch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with api(judge_teams, tls=authority) as service:
        yield service, f"workflows://localhost:{service.port}/{'w' * 32}/{'s' * 43}"
