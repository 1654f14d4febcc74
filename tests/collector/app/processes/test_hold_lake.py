"""Before a lake is taken elsewhere: whether this collector is the only one that writes it."""

from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.processes import collector
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.errors import DataDirectoryError, StateUnavailableError

NOW = datetime(2026, 1, 1)  # as the state has it
OTHER = SimpleNamespace(collector="other", address="http://other:4318", seen_at=NOW)


def away() -> list[Any]:
    raise StateUnavailableError("the alert state is away")


def hold(folder: Path, monkeypatch: pytest.MonkeyPatch, marks: Any) -> list[Any]:
    """Asks a collector with a lake and a state that are shared; what it held in the end."""
    held: list[Any] = []
    monkeypatch.setattr(collector, "hold_lake", lambda lake, *_: held.append(lake))
    base: Any = SimpleNamespace(
        directory=DataDirectory(folder),
        place=SimpleNamespace(shared=True),
        store=SimpleNamespace(marks=marks),
        now=lambda: NOW,
    )
    inflow: Any = SimpleNamespace(lake=SimpleNamespace(shared=True))
    collector._hold_lake(base, inflow, {"to": "there"}, tell_nobody)
    return held


def test_a_lake_that_another_one_writes_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other one writes meanwhile would be left behind; one that is gone for long writes nothing."""
    with pytest.raises(DataDirectoryError, match=r"another collector writes .*http://other:4318"):
        hold(tmp_path, monkeypatch, lambda: [OTHER])
    gone = SimpleNamespace(**vars(OTHER) | {"seen_at": NOW - timedelta(days=9)})
    assert len(hold(tmp_path, monkeypatch, lambda: [gone])) == 1


def test_a_lake_stays_while_nobody_can_say_who_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the state is away, another collector may be there and write on."""
    with pytest.raises(StateUnavailableError):
        hold(tmp_path, monkeypatch, away)
