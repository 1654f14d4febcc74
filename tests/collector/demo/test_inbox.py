"""The demo's inbox, reached over real HTTP and SMTP, by hand and through Apprise."""

import gc
import smtplib
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path

import pytest

from lapwing_collector.clock import SteppingClock
from lapwing_collector.demo.inbox import HOST, Delivery, Inbox
from lapwing_collector.model.alerts import Message, Status
from lapwing_collector.notify import ANYWHERE
from lapwing_collector.notify.file import read_notify_file
from lapwing_collector.notify.target import Verdict

NOTIFY_FILE = Path(__file__).parents[3] / "examples" / "flights" / "notify.yaml"
NOON = datetime(2026, 11, 22, 12)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """An open inbox whose clock stands at noon."""
    with Inbox(SteppingClock(1_795_348_800 * 10**9)) as opened:
        yield opened


def post(inbox: Inbox, body: bytes, headers: dict[str, str] | None = None) -> int:
    """Post `body` and give the answer's status."""
    connection = HTTPConnection(HOST, inbox.http_port, timeout=60)
    connection.request("POST", "/", body, headers or {})
    status = connection.getresponse().status
    connection.close()
    return status


def mail(inbox: Inbox, text: bytes) -> None:
    """Send `text`, a whole mail."""
    with smtplib.SMTP(HOST, inbox.smtp_port, timeout=60) as client:
        client.sendmail("lapwing@example.com", ["team@example.com"], text)


def test_the_example_targets_deliver_to_both_receivers(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages to the example's targets arrive whole, by HTTP and by mail, with their keys."""
    monkeypatch.setenv("LAPWING_DEMO_HTTP_PORT", str(inbox.http_port))
    monkeypatch.setenv("LAPWING_DEMO_SMTP_PORT", str(inbox.smtp_port))
    title, body = "[FIRING] InputDrift (feature=temp)", "temp is unlike the training data: 82 °F\n\nValue: 8"
    for target in read_notify_file(NOTIFY_FILE).targets:
        message = Message(f"key-{target.name}", target.name, Status.FIRING, "f1", title, body)
        assert target.send(message, ANYWHERE).verdict is Verdict.SENT
    assert inbox.deliveries == (
        Delivery("http", NOON, title, body, "key-webhook"),
        Delivery("smtp", NOON, title, body, "key-mail"),
    )


@pytest.mark.parametrize(
    ("posted", "body"), [(b"", ""), (b"plain", "plain"), (b"[1]", "[1]"), (b"\xff", "\ufffd"), (b"{}", "")]
)
def test_http_takes_whatever_comes(inbox: Inbox, posted: bytes, body: str) -> None:
    """A post that is no message of Apprise's is answered 200 all the same and kept as it is."""
    assert post(inbox, posted) == 200
    assert [delivery.body for delivery in inbox.deliveries] == [body]


def test_mail_in_several_forms_is_read(inbox: Inbox) -> None:
    """Plain text is preferred, HTML is kept as its source, and a mail without text has an empty body."""
    mail(inbox, b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\none\r\ntwo\r\n")
    mail(inbox, b"Content-Type: text/html\r\n\r\n<p>hi</p>\r\n")
    mail(inbox, b"Content-Type: image/png\r\n\r\n....\r\n")
    mail(
        inbox,
        b"Content-Type: multipart/alternative; boundary=B\r\n\r\n"
        b"--B\r\nContent-Type: text/html\r\n\r\n<b>x</b>\r\n"
        b"--B\r\nContent-Type: text/plain\r\n\r\nx\r\n--B--\r\n",
    )
    assert [(delivery.title, delivery.body) for delivery in inbox.deliveries] == [
        ("grüße", "one\ntwo"),
        ("", "<p>hi</p>"),
        ("", ""),
        ("", "x"),
    ]


def test_deliveries_are_told_one_at_a_time() -> None:
    """The callback hears of every message of many senders, never of two at once, and may read the inbox."""
    two_at_once = threading.Barrier(2)
    told, overlaps = [], []

    def on_delivery(delivery: Delivery) -> None:
        told.append(len(inbox.deliveries))
        with suppress(threading.BrokenBarrierError):
            two_at_once.wait(0.2)
            overlaps.append(delivery)

    with Inbox(SteppingClock(), on_delivery) as inbox:
        senders = [threading.Thread(target=post, args=(inbox, b"x")) for _ in range(10)]
        senders += [threading.Thread(target=mail, args=(inbox, b"\r\nx")) for _ in range(10)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert told == list(range(1, 21))
    assert not overlaps


def test_closing_hangs_up_and_frees_everything() -> None:
    """An inbox closes though a client idles on it, leaves no thread, port or socket, keeps what it got."""
    before = set(threading.enumerate())
    with Inbox(SteppingClock()) as inbox:
        post(inbox, b"x")
        idle = smtplib.SMTP(HOST, inbox.smtp_port, timeout=60)
        idle.ehlo()
    assert set(threading.enumerate()) == before
    assert len(inbox.deliveries) == 1
    for port in (inbox.http_port, inbox.smtp_port):
        with socket.socket() as probe:
            assert probe.connect_ex((HOST, port)) != 0
    idle.close()
    gc.collect()
