"""The simulation behind docs/scaling.md: sums that can be done by hand, and what has to hold of any load."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import benchmarks
from helpers.contract_docs import ROOT

bench = benchmarks.load("simulation")


def test_one_collector_with_one_model_can_be_reckoned_by_hand() -> None:
    """A flush a second: each share is what a second of it costs, and rows wait an interval and a flush."""
    load, setup = bench.Load(1_000, 1, 10), bench.Setup()
    costs, assumed = bench.Costs(), bench.Assumed()
    outcome = bench.simulate(load, setup, flushes=400)
    receive_s = costs.receive_row_s + 10 * costs.receive_value_s
    write_s = costs.write_row_s + 10 * (costs.write_value_s + costs.profile_value_s)
    file_s = costs.flush_s + costs.table_s + 10 * costs.column_s
    turn_s = costs.turn_s + costs.turn_table_s
    by_hand = {
        bench.Limit.ROWS_CPU: 1_000 * (receive_s + write_s) / 2,
        bench.Limit.FILES_CPU: file_s,
        bench.Limit.TURNS: turn_s,
        bench.Limit.PUTS: 2 / assumed.puts_per_s,
        bench.Limit.MERGING: (2 * costs.merge_file_s + 1_000 * 3 * costs.merge_row_s) / 0.25,
        bench.Limit.QUERIES: costs.query_s,
    }
    assert outcome.used == pytest.approx(by_hand, rel=0.01)
    assert outcome.freshness_s == pytest.approx(1 + max(file_s + 1_000 * write_s, assumed.put_s) + turn_s)
    assert outcome.files_a_day == pytest.approx(2 * 86_400, rel=0.01)


def test_what_gives_way_is_named() -> None:
    """Too many rows, models, collectors, merges and questions are told apart."""
    simulate, limit = bench.simulate, bench.Limit
    free = bench.Costs(merge_row_s=0, merge_file_s=0)
    assert simulate(bench.Load(400_000, 1, 10), bench.Setup(), free).bottleneck == limit.ROWS_CPU
    assert simulate(bench.Load(5_000, 5_000, 10), bench.Setup(), free).bottleneck == limit.FILES_CPU
    many = bench.Setup(collectors=200, cores=16, routed=True)
    assert simulate(bench.Load(100_000, 200, 10), many, free).bottleneck == limit.TURNS
    assert simulate(bench.Load(100_000, 10, 10), many).used[limit.MERGING] > 1
    assert simulate(bench.Load(10, 1, 1, queries=100), bench.Setup()).bottleneck == limit.QUERIES
    slow = bench.Assumed(puts_per_s=1)
    assert simulate(bench.Load(10, 1, 1), bench.Setup(), free, slow).bottleneck == limit.PUTS


def test_turns_are_taken_one_after_the_other() -> None:
    """Collectors whose turns together take longer than an interval wait for each other."""
    slow = bench.Costs(turn_s=0.3, turn_table_s=0)
    alone = bench.simulate(bench.Load(1_000, 1, 1), bench.Setup(), slow)
    crowd = bench.simulate(bench.Load(10_000, 1, 1), bench.Setup(collectors=10), slow)
    assert crowd.freshness_s > alone.freshness_s + 1
    assert crowd.used[bench.Limit.TURNS] > 0.99


def test_routing_by_model_spares_files() -> None:
    """Each model has its rows in one file then, and not in one for each collector."""
    load = bench.Load(20_000, 100, 10)
    anywhere = bench.simulate(load, bench.Setup(collectors=4))
    routed = bench.simulate(load, bench.Setup(collectors=4, routed=True))
    assert routed.files_a_day < anywhere.files_a_day / 3


@given(
    st.floats(1, 1e6), st.integers(1, 10_000), st.integers(1, 200), st.integers(1, 50), st.floats(1.01, 10)
)
def test_more_rows_never_need_less(rate: float, models: int, features: int, count: int, more: float) -> None:
    """Whatever the load, the use of CPU for rows, and bytes in the lake, grow with the rate."""
    setup = bench.Setup(collectors=count)
    less, greater = (
        bench.simulate(bench.Load(each, models, features), setup, flushes=8) for each in (rate, rate * more)
    )
    assert greater.used[bench.Limit.ROWS_CPU] > less.used[bench.Limit.ROWS_CPU]
    assert greater.bytes_a_day > less.bytes_a_day
    assert min(less.used.values()) >= 0


def test_every_step_of_the_page_is_borne_in_the_end() -> None:
    """Up to a million predictions a second of ten thousand models, some set-up bears it."""
    setup = bench.Setup()
    for load in bench.STEPS:
        steps = list(bench.grow(load, setup))
        setup, outcome, limit = steps[-1]
        assert limit is None
        assert max(outcome.used.values()) <= 0.7
        assert len(steps) < 30
        assert all(each.used[named] > 0.7 for _, each, named in steps[:-1])


@pytest.mark.parametrize("table", ["steps_table", "sizes_table"])
def test_the_page_shows_what_is_simulated(table: str) -> None:
    """Its tables are those that `python -m bench simulation` prints."""
    page = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
    assert "\n".join(getattr(bench, table)()) in page


def test_nothing_is_simulated_of_nothing() -> None:
    """A load without rows is a mistake of whoever asks."""
    with pytest.raises(ValueError, match="expected some rows"):
        bench.simulate(bench.Load(0, 1, 1), bench.Setup())
