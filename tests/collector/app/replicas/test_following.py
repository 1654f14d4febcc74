"""What others brought and changed is told to browsers here."""

from contextlib import closing
from pathlib import Path

from helpers.notify_alerts import NOON, message, put
from lapwing_collector.app.replicas.following import Following
from lapwing_collector.state import SqliteFile, Store


def test_what_others_told_is_told_once(tmp_path: Path) -> None:
    """First comes all that there is, then each table again once it got rows; alerts whenever they changed."""
    told: list[str] = []
    with closing(Store.open(SqliteFile(tmp_path / "state.sqlite"))) as store:
        following = Following(store, brought=told.extend, changed=lambda: told.append("alerts"))
        store.tell_arrivals({"m": NOON, "n": None})
        looks = []
        for happens in (
            lambda: None,
            lambda: None,
            lambda: store.tell_arrivals({"m": NOON}),
            lambda: put(store, message()),
            lambda: None,
        ):
            happens()
            following.look()
            looks.append(list(told))
            told.clear()
    assert looks == [["m", "n", "alerts"], [], ["m"], ["alerts"], []]
