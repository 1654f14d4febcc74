"""Queries on their way to a query process."""

import pickle

from lapwing_collector.model.queries import Ask, Format


def test_a_query_arrives_as_it_was_asked() -> None:
    """Each of its fields is told to the process that answers it, and none by its default."""
    told = Ask("SELECT $a", {"a": 1}, Format.CSV, 2, 3, whole=True, explain=True, plain=True)
    usual = Ask("", {})
    assert not any(getattr(told, name) == getattr(usual, name) for name in Ask.__slots__)
    assert pickle.loads(pickle.dumps(told)) == told
