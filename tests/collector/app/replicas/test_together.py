"""How far collectors are together: marks that they tell, one look after another."""

from datetime import datetime, timedelta

import pytest

from lapwing_collector.app.replicas.together import Together
from lapwing_collector.model.replicas import Mark

NOON = datetime(2026, 1, 1, 12)
PATIENCE_S = 60.0

Told = dict[str, tuple[int, int]]
"""Of each collector, up to which second after noon it is, and how often it told."""


def marks(told: Told) -> list[Mark]:
    return [
        Mark(name, f"http://{name}", NOON + timedelta(seconds=settled), beats, NOON)
        for name, (settled, beats) in told.items()
    ]


@pytest.mark.parametrize(
    ("looks", "settled", "left_out"),
    [
        pytest.param([(0, {})], None, (), id="nobody is waited for"),
        pytest.param([(0, {"a": (5, 1), "b": (3, 1)})], 3, (), id="the slowest counts"),
        pytest.param(
            [(0, {"a": (5, 1), "b": (3, 1)}), (1, {"a": (6, 2)})],
            6,
            (),
            id="who has brought all is not waited for",
        ),
        pytest.param(
            [(n, {"a": (n, n), "b": (3, 1)}) for n in range(60)], 3, (), id="who is silent is waited for"
        ),
        pytest.param(
            [(n, {"a": (n, n), "b": (3, 1)}) for n in range(61)], 60, ("http://b",), id="but not for ever"
        ),
        pytest.param(
            [(n, {"a": (n, n), "b": (3, n)}) for n in range(90)], 3, (), id="who tells that it is behind is"
        ),
        pytest.param(
            [
                *((n, {"a": (n, n), "b": (3, 1)}) for n in range(80)),
                (80, {"a": (80, 80), "b": (79, 2)}),
                (82, {"a": (82, 82), "b": (82, 4)}),
            ],
            3,
            (),
            id="who is back begins where it was",
        ),
        pytest.param(
            [
                *((n, {"a": (n, n), "b": (3, 1)}) for n in range(80)),
                (80, {"a": (80, 80), "b": (79, 2)}),
                (85, {"a": (85, 85), "b": (84, 7)}),
            ],
            84,
            (),
            id="and is soon where it says",
        ),
        pytest.param(
            [(0, {"a": (5, 1)}), (40, {"a": (5, 1)}), (80, {"a": (5, 1)}), (120, {"a": (5, 1)})],
            5,
            (),
            id="who was stopped itself cannot tell who was silent",
        ),
    ],
)
def test_slots_wait_for_all_that_are_there(
    looks: list[tuple[float, Told]], settled: int | None, left_out: tuple[str, ...]
) -> None:
    """What all have settled that tell anything, or did so a moment ago, and who does not any more."""
    together = Together(PATIENCE_S)
    for at_s, told in looks:
        together.look(marks(told), 100 + at_s)
    assert together.settled == (None if settled is None else NOON + timedelta(seconds=settled))
    assert together.left_out == left_out
