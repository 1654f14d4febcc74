"""When a replica takes the lead: looks at who has it, one after another."""

import pytest

from lapwing_collector.app.replicas.succession import SILENT_AFTER_S, Act, Sight, Succession

FREE = Sight(None, None)
WAIT, TAKE, EVICT = Act.WAIT, Act.TAKE, Act.EVICT


def beats(count: int, holder: str = "a") -> Sight:
    return Sight(holder, count)


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param([(0, FREE)], [TAKE], id="a free lock is taken"),
        pytest.param([(0, FREE), (0.5, FREE)], [TAKE, TAKE], id="and again where another was faster"),
        pytest.param([(n, beats(n)) for n in range(20)], [WAIT] * 20, id="one that tells is waited for"),
        pytest.param(
            [(n, beats(7)) for n in range(7)],
            [WAIT] * 5 + [EVICT, WAIT],
            id="one that is silent for 5 s is not",
        ),
        pytest.param(
            [(0, beats(1)), (2, beats(1)), (4, beats(2)), (6, beats(2)), (8, beats(2)), (9, beats(2))],
            [WAIT] * 5 + [EVICT],
            id="silence begins with what was heard last",
        ),
        pytest.param(
            [(0, beats(1)), (2, beats(1)), (4, beats(1, "b")), (6, beats(1, "b")), (8, beats(1, "b"))],
            [WAIT] * 5,
            id="another one has its own time",
        ),
        pytest.param(
            [(0, beats(1)), (2, beats(1)), (40, beats(1)), (42, beats(1)), (44, beats(1)), (45, beats(1))],
            [WAIT] * 5 + [EVICT],
            id="who was stopped itself begins anew",
        ),
        pytest.param(
            [(n, Sight("a", None)) for n in range(20)], [WAIT] * 20, id="a command that writes is not ended"
        ),
        pytest.param(
            [(0, beats(1)), (1, beats(1)), (2, FREE), (3, beats(1)), (4, beats(1)), (5, beats(1))],
            [WAIT, WAIT, TAKE, WAIT, WAIT, WAIT],
            id="one that came back is new",
        ),
    ],
)
def test_a_replica_takes_a_free_lead_and_ends_a_silent_one(
    looks: list[tuple[float, Sight]], expected: list[Act]
) -> None:
    """What is done at each look follows from what was seen at it and before, and when."""
    succession = Succession()
    assert SILENT_AFTER_S == 5
    assert [succession.look(sight, 100 + at_s) for at_s, sight in looks] == expected
