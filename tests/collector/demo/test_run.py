"""The demo as a person or a script starts and ends it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lapwing_collector.demo import run
from lapwing_collector.demo.process import CollectorProcess
from lapwing_collector.demo.run import dashboard_link
from lapwing_collector.web.span import Span


@pytest.fixture
def in_the_background() -> Iterator[None]:
    """A shell's background job: Ctrl-C is not for it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("in_the_background")
def test_sigterm_ends_it_in_the_background_too() -> None:
    """A script that started `lapwing demo &` ends it by `kill`, as it ends everything else."""
    run._stop_on_sigterm()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_end_while_the_collector_starts_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a session of its own, so that nothing else would ever end it."""
    started: list[subprocess.Popen[bytes]] = []

    class Kept(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

        def poll(self) -> int | None:
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Kept)
    with pytest.raises(KeyboardInterrupt):
        CollectorProcess.start(tmp_path / "data", config=tmp_path / "none.yaml", environment={})
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_its_link_shows_what_is_replayed() -> None:
    """The range of the page is that of the replay, not that of today, on which no flight departs."""
    link = urlsplit(dashboard_link("http://127.0.0.1:4319", datetime(2014, 1, 1)))
    assert (link.netloc, link.path) == ("127.0.0.1:4319", "/model")
    asked = {name: values[0] for name, values in parse_qs(link.query).items()}
    assert asked["name"] == "flights"
    span = Span.of(asked, datetime(2026, 1, 1))
    assert (span.since, span.until) == (datetime(2013, 3, 1), datetime(2014, 1, 1))
