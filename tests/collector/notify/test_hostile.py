"""Attempts against receivers that misbehave: each ends in time, with a reason that tells no secret.

Numbers in docstrings are those of the findings in the decision about Apprise.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from helpers.notify_alerts import message
from helpers.notify_hostile import (
    Behaviour,
    Receiver,
    answer,
    close,
    close_within,
    drip,
    drip_body,
    drip_from_the_start,
    garbage,
    http_receiver,
    refused_port,
    smtp_receiver,
    stall,
)
from lapwing_collector.notify import ANYWHERE, Outcome, Reach, Target, Verdict

LIMIT_S = 0.4


@pytest.mark.parametrize("behaviour", [stall, drip, drip_body])
def test_an_attempt_ends_at_its_limit_whatever_the_server_does(behaviour: Behaviour) -> None:
    """A server that stalls or drips, which no timeout of a read ends, costs the limit and no more (4)."""
    with http_receiver(behaviour) as hostile:
        begun = time.monotonic()
        outcome = Target("hook", hostile.url("?rto=60&cto=60"), limit_s=LIMIT_S).send(message(), ANYWHERE)
        assert time.monotonic() - begun < 20
        assert outcome.verdict is Verdict.RETRY
        assert "within 0.4 s" in outcome.error or "error=503" in outcome.error


def test_a_mail_server_that_drips_costs_the_limit() -> None:
    """A greeting without an end is ended, too (4)."""
    with drip_from_the_start() as hostile:
        begun = time.monotonic()
        outcome = Target("mail", hostile.mail_url(), limit_s=LIMIT_S).send(message(), ANYWHERE)
        assert time.monotonic() - begun < 20
        assert outcome.verdict is Verdict.RETRY
        assert "within 0.4 s" in outcome.error


def test_a_server_in_tls_that_drips_costs_the_limit() -> None:
    """The connection is ended although TLS has taken it away from its first socket (4)."""
    with drip_from_the_start(greeting=b"\x16\x03\x03\x40\x00") as hostile:
        begun = time.monotonic()
        url = hostile.url("?rto=60&verify=no").replace("json://", "jsons://")
        outcome = Target("hook", url, limit_s=LIMIT_S).send(message(), ANYWHERE)
        assert time.monotonic() - begun < 20
        assert outcome.verdict is Verdict.RETRY


def test_the_next_attempt_is_a_fresh_one() -> None:
    """After an attempt that was ended the same target sends again."""
    with http_receiver(drip) as hostile:
        target = Target("hook", hostile.url("?rto=60"), limit_s=LIMIT_S)
        assert target.send(message("k1"), ANYWHERE).verdict is Verdict.RETRY
        assert target.send(message("k2"), ANYWHERE) == Outcome(Verdict.SENT)
        assert [b"Idempotency-Key: k2" in request for request in hostile.inbox.items] == [False, True]


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (close, "broken off"),
        (close_within, "broken off"),
        (garbage, "broken off"),
        (answer("500 Oops", text="x" * 100_000), "error=500"),
        (answer("200 OK", "Content-Encoding: gzip", text="no gzip"), "broken off"),
    ],
)
def test_broken_answers_are_tried_again(behaviour: Behaviour, expected: str) -> None:
    """A connection that ends without a whole answer says nothing about the message, which is sent again."""
    with http_receiver(behaviour) as hostile:
        outcome = Target("hook", hostile.url()).send(message(), ANYWHERE)
    assert outcome.verdict is Verdict.RETRY
    assert expected in outcome.error
    assert len(hostile.inbox.items) == 1


def test_the_reasons_of_network_failures_are_told_apart() -> None:
    """Refused, without a name, and too late differ in words, where Apprise says the same of all (7)."""
    with http_receiver(stall) as hostile:
        urls = {
            "connection refused": f"json://127.0.0.1:{refused_port()}/",
            "no answer in time": hostile.url("?rto=0.2"),
            "its name cannot be resolved": "json://nowhere.invalid/",
        }
        for expected, url in urls.items():
            outcome = Target("hook", url).send(message(), ANYWHERE)
            assert outcome.verdict is Verdict.RETRY
            assert outcome.error.endswith(f": {expected}"), outcome.error


def test_retry_after_is_heard() -> None:
    """What a service says in Retry-After comes with the outcome (6)."""
    with http_receiver(
        answer("429 Too Many", "Retry-After: 7"), answer("503 Busy", "Retry-After: soon")
    ) as busy:
        target = Target("hook", busy.url())
        assert target.send(message(), ANYWHERE).retry_after == "7"
        assert target.send(message(), ANYWHERE).retry_after == "soon"


@pytest.mark.parametrize(
    ("replies", "verdict"),
    [
        ({"RCPT": "550 no such user here"}, Verdict.DEAD),
        ({"MAIL": "553 sender refused"}, Verdict.DEAD),
        ({"DOT": "554 this is spam"}, Verdict.DEAD),
        ({"RCPT": "451 greylisted, come back"}, Verdict.RETRY),
        ({"DOT": "452 disk full"}, Verdict.RETRY),
        ({"DATA": ""}, Verdict.RETRY),
        ({"DOT": ""}, Verdict.RETRY),
    ],
)
def test_replies_of_mail_servers_decide(replies: dict[str, str], verdict: Verdict) -> None:
    """A permanent reply of a mail server gives the mail up at once, any other failure does not."""
    with smtp_receiver(**replies) as server:
        outcome = Target("mail", server.mail_url()).send(message(), ANYWHERE)
    assert outcome.verdict is verdict
    code = next(iter(replies.values()))[:3]
    assert code in outcome.error
    assert server.inbox.items == []


def test_a_mail_server_takes_a_mail() -> None:
    """The mail that a plain server takes is one, for one recipient (16)."""
    with smtp_receiver() as server:
        assert Target("mail", server.mail_url()).send(message("k1"), ANYWHERE) == Outcome(Verdict.SENT)
    (mail,) = server.inbox.items
    assert b"\r\nTo: ml@example.com\r\n" in mail


@pytest.mark.parametrize(
    "url",
    [
        "json://user:t0psecret@127.0.0.1:{port}/p4th-s3cret?+X-Token=h34der-s3cret&-key=par4m-s3cret",
        "mailto://user:t0psecret@127.0.0.1:{port}?from=lapwing@example.com&to=ml@example.com",
    ],
)
@pytest.mark.parametrize("behaviour", [answer("500 p4th-s3cret t0psecret"), garbage, close])
def test_errors_tell_no_secret(url: str, behaviour: Behaviour) -> None:
    """Neither passwords nor the path, headers and parameters of an address are in an error (12)."""
    with http_receiver(behaviour) as hostile:
        target = Target("t", url.format(port=hostile.port), limit_s=LIMIT_S)
        error = target.send(message(), ANYWHERE).error
    assert error
    assert "s3cret" not in error
    assert "t0psecret" not in error


@pytest.mark.parametrize("make", [http_receiver, smtp_receiver], ids=["webhook", "mail"])
def test_addresses_inside_are_out_of_reach(make: Callable[[], AbstractContextManager[Receiver]]) -> None:
    """Without a word in the settings nothing connects to this machine, and the reason says what to add."""
    with make() as inside:
        for url in (inside.url(), inside.mail_url(), inside.url().replace("127.0.0.1", "localhost")):
            outcome = Target("hook", url).send(message())
            assert outcome.verdict is Verdict.DEAD
            assert "is not on the public internet" in outcome.error
            assert outcome.error.count("delivery.allow_networks") == 1
        assert inside.inbox.items == []


def test_a_name_that_leads_elsewhere_the_second_time_gets_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is the address of the connection, not where the name led when it was looked up before."""
    import socket

    with http_receiver() as inside:
        looked_up: list[str] = []
        real = socket.getaddrinfo

        def rebinding(host: str, *arguments: object, **options: object) -> object:
            looked_up.append(host)
            return real("127.0.0.1" if host == "rebind.example" else host, *arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        url = f"json://rebind.example:{inside.port}/"
        outcome = Target("hook", url).send(message())
        assert looked_up == ["rebind.example"]
        assert "127.0.0.1 is not on the public internet" in outcome.error
        assert inside.inbox.items == []
        assert Target("hook", url).send(message(), ANYWHERE) == Outcome(Verdict.SENT)


def test_only_what_sends_is_watched() -> None:
    """Connections of other threads, and of this one outside of an attempt, go where they like."""
    with http_receiver(stall, answer("200 OK")) as receiver:
        sending = threading.Thread(
            target=lambda: Target("hook", receiver.url(), limit_s=5).send(message(), ANYWHERE), daemon=True
        )
        sending.start()
        receiver.inbox.wait_for(1)
        import urllib3

        with urllib3.PoolManager() as pool:
            assert pool.request("GET", f"http://127.0.0.1:{receiver.port}/").status == 200
        assert Target("hook", receiver.url()).send(message(), Reach()).verdict is Verdict.DEAD
        receiver.ended.set()
        sending.join()


def test_a_process_ends_while_a_target_hangs() -> None:
    """What hangs in a send does not keep the interpreter (3), which ends without a word."""
    program = (
        "import sys, threading\n"
        "from datetime import datetime\n"
        "from lapwing_collector.model.alerts import Message, Status\n"
        "from lapwing_collector.notify import ANYWHERE, Target\n"
        "target = Target('t', sys.argv[1])\n"
        "note = Message(key='k', target='t', status=Status.FIRING, group='g', title='t', body='b')\n"
        "threading.Thread(target=target.send, args=(note, ANYWHERE), daemon=True).start()\n"
        "sys.stdin.readline()\n"
    )
    with http_receiver(stall) as hostile:
        process = subprocess.Popen(
            [sys.executable, "-c", program, hostile.url("?rto=600")],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        hostile.inbox.wait_for(1)
        _, said = process.communicate(b"\n", timeout=60)
        assert (process.returncode, said) == (0, b"")
