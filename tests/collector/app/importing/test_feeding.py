"""The demo that a collector loads: what is in its way is told before anybody tries."""

from pathlib import Path

import pytest

from lapwing_collector.app.importing import feeding
from lapwing_collector.app.importing.feeding import Feeding
from lapwing_collector.errors import ConfigError


@pytest.mark.parametrize(
    ("endpoint", "open_to_all", "needs", "told"),
    [
        ("http://127.0.0.1:4318", True, ("no_such_module",), "no_such_module: pip install 'lapwing[demo]'"),
        ("http://127.0.0.1:4318", False, (), "without token"),
        ("https://127.0.0.1:4318", True, (), "certificate"),
    ],
)
def test_what_is_in_the_way_is_told_first(
    endpoint: str, open_to_all: bool, needs: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state says what the start would refuse, so that pages can say it in place of a button."""
    monkeypatch.setattr(feeding, "_NEEDS", needs)
    demo = Feeding(lambda: endpoint, Path(), open_to_all=open_to_all)
    obstacle = demo.state({})["obstacle"]
    assert told in obstacle
    with pytest.raises(ConfigError) as refused:
        demo.start({})
    assert str(refused.value) == obstacle
