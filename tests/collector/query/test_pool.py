"""Queries in processes of their own: how they answer, run over, are called off, wait and are turned away."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.query_lake import LIMITS, Readers, make_lake, readers
from helpers.waiting import wait_until
from lapwing_collector.errors import (
    DataDirectoryError,
    NotSeenYetError,
    QueryError,
    QueryLimitError,
    RefusedQueryError,
    UnavailableError,
)
from lapwing_collector.model.queries import Answer, Ask, Cancellation, Format, Plain
from lapwing_collector.query import QueryPool, QueryProcess
from lapwing_collector.query.render import render

ENDLESS = "SELECT count(*) FROM range(1000000000000)"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    with readers(make_lake(tmp_path_factory.mktemp("data") / "lake")) as found:
        yield found


@pytest.fixture(scope="module")
def pool(shared: Readers) -> Iterator[QueryPool]:
    with shared.pool() as pool:
        yield pool


def test_answers_with_parameters(pool: QueryPool) -> None:
    """A query gets its rows as a table, its parameters bound by name."""
    before = counted(pool)
    answer = pool.run(
        "SELECT count(*) AS n FROM predictions.churn WHERE time < $end AND inputs.age >= $age",
        {"end": datetime(2030, 1, 1), "age": 4},
        30,
    )
    assert answer.to_pylist() == [{"n": 6}]
    assert counted(pool) - before == {"answered": 1}


def test_errors_keep_what_helps_to_mend_the_sql(pool: QueryPool) -> None:
    """A mistake comes back as what it is, with its place in characters and with names that may be meant."""
    before = counted(pool)
    with pytest.raises(NotSeenYetError) as unknown:
        pool.run("SELECT 'é' AS e, *\nFROM predictions.chur", {}, 30)
    assert unknown.value.position == 24
    assert unknown.value.candidates == ("churn",)
    assert "LINE 2: FROM predictions.chur\n             ^" in str(unknown.value)
    with pytest.raises(QueryError, match="SELEC") as syntax:
        pool.run("SELEC 1", {}, 30)
    assert syntax.value.position == 0
    with pytest.raises(RefusedQueryError, match="expected a SELECT, not DELETE"):
        pool.run("DELETE FROM models", {}, 30)
    assert counted(pool) - before == {"failed": 2, "refused": 1}


def test_an_endless_query_is_killed_in_time_and_the_next_answers(pool: QueryPool) -> None:
    """A query over its time costs its process, at once, and nobody else anything."""
    pool.run("SELECT 1", {}, 30)
    before = counted(pool)
    began_s = time.monotonic()
    with pytest.raises(QueryLimitError, match=r"longer than 0\.2 s"):
        pool.run(ENDLESS, {}, 0.2)
    assert time.monotonic() - began_s < 0.2 + 0.1 + BUSY_MACHINE_S
    assert pool.run("SELECT 1 AS one", {}, 30).to_pylist() == [{"one": 1}]
    assert counted(pool) - before == {"over_limit": 1, "answered": 1}


BUSY_MACHINE_S = 10
"""What other tests beside this one may cost it."""


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT list_aggregate(range(3000000000), 'sum')",
        "SELECT repeat('x', 3000000000)",
        "SELECT count(*) FROM (SELECT DISTINCT a.range, b.range FROM range(100000) a, range(100000) b)",
        "WITH RECURSIVE r AS (SELECT repeat('x', 100000) AS x UNION ALL SELECT x || x FROM r) FROM r",
    ],
)
def test_memory_hogs_end_where_the_limit_is(pool: QueryPool, sql: str) -> None:
    """Fault 26: what wants more memory than there is for it fails and says so, and the next query answers."""
    with pytest.raises(QueryLimitError):
        pool.run(sql, {}, 20)
    assert pool.run("SELECT 1 AS one", {}, 30).to_pylist() == [{"one": 1}]


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r",
        "SELECT sum(a.range * b.range + c.range) FROM range(100000) a, range(100000) b, range(100000) c",
        "SELECT count(*) FROM range(999999999) WHERE regexp_matches(repeat('a', 999) || range, '(a.*){9}x$')",
    ],
)
def test_what_never_ends_is_stopped(pool: QueryPool, sql: str) -> None:
    """Fault 26: endless recursion, products of tables and slow patterns last as long as the limit says."""
    with pytest.raises(QueryLimitError):
        pool.run(sql, {}, 0.3)


def test_a_dead_process_costs_its_query_only(pool: QueryPool) -> None:
    """Fault 22: when the kernel kills a query process, its query fails, and the pool gets another process."""
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(pool.run, ENDLESS, {}, 30)
        wait_until(lambda: bool(pool._busy))
        (process,) = pool._busy
        os.kill(process._child.pid, signal.SIGKILL)
        with pytest.raises(QueryLimitError, match="died"):
            running.result(60)
    assert pool.run("SELECT 1 AS one", {}, 30).to_pylist() == [{"one": 1}]


def test_rows_and_bytes_of_an_answer_are_bounded(pool: QueryPool) -> None:
    """A longer answer is cut to the row, or near the byte, and says so; who wants all or none gets none."""
    before = counted(pool)
    endless = "SELECT range AS x FROM range(1000000000000)"
    with pool.ask(Ask(endless, max_rows=20_001), 30) as answer:
        assert (answer.rows, answer.truncated) == (20_001, True)
        assert answer.table().column("x").to_pylist() == list(range(20_001))
    with pool.ask(Ask(endless, max_bytes=100_000), 30) as answer:
        assert answer.truncated
        assert 90_000 < answer.table().nbytes <= 100_000
    with pool.ask(Ask("FROM range(5)", max_rows=5), 30) as answer:
        assert (answer.rows, answer.truncated) == (5, False)
        answer.table()
    with pytest.raises(QueryLimitError, match="more than 10 rows: add a LIMIT"):
        pool.ask(Ask(endless, max_rows=10, whole=True), 30)
    with pytest.raises(QueryLimitError, match="bytes"):
        pool.ask(Ask("SELECT repeat('x', 2000)", max_bytes=1000), 30)
    assert counted(pool) - before == {"truncated": 2, "answered": 1, "over_limit": 2}


def test_who_leaves_in_the_middle_ends_the_query(pool: QueryPool) -> None:
    """A query that is called off while it runs, and an answer that is not read to its end, hold nobody up."""
    before = counted(pool)
    cancellation = Cancellation()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(pool.ask, Ask(ENDLESS), 30, cancellation)
        wait_until(lambda: pool.stats().running == 1)
        cancellation.cancel()
        with pytest.raises(QueryError, match="cancelled"):
            running.result(60)
    with pool.ask(Ask("FROM range(1000000)"), 30) as answer:
        assert next(iter(answer))
    assert counted(pool) - before == {"cancelled": 2}
    assert pool.run("SELECT 1 AS one", {}, 30).to_pylist() == [{"one": 1}]


def test_who_is_not_asked_for_long_is_let_go(shared: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that rests too long ends, with the memory that it has; the next question starts another."""
    taken: list[QueryProcess] = []
    take = shared.spare.take

    def seen() -> QueryProcess:
        taken.append(take())
        return taken[-1]

    monkeypatch.setattr(shared.spare, "take", seen)
    patient, hasty = QueryPool(shared.spare, 1), QueryPool(shared.spare, 1, rests_s=0.05)
    for _ in range(2):
        patient.run("SELECT 1", {}, 30)
    (kept,) = taken
    hasty.run("SELECT 1", {}, 30)
    wait_until(lambda: not taken[-1].alive)
    assert hasty.run("SELECT 1 AS one", {}, 30).to_pylist() == [{"one": 1}]
    assert (len(taken), kept.alive) == (3, True)
    patient.close()
    hasty.close()
    assert not any(process.alive for process in taken)


def test_too_many_at_a_time_are_turned_away(shared: Readers) -> None:
    """One runs, one waits, the third is told to try again; the one that waits gets its turn."""
    with shared.pool(1, queue=1) as pool, ThreadPoolExecutor(2) as threads:
        cancellation = Cancellation()
        first = threads.submit(pool.ask, Ask(ENDLESS), 30, cancellation)
        wait_until(lambda: pool.stats().running == 1)
        second = threads.submit(pool.run, "SELECT 1 AS one", {}, 30)
        wait_until(lambda: pool.stats().waiting == 1)
        with pytest.raises(UnavailableError, match="1 queries run and 1 wait"):
            pool.run("SELECT 1", {}, 30)
        cancellation.cancel()
        assert second.result(30).to_pylist() == [{"one": 1}]
        assert isinstance(first.exception(30), QueryError)
        assert pool.stats().outcomes["turned_away"] == 1


def test_one_who_waits_can_leave_and_does_not_wait_for_ever(shared: Readers) -> None:
    """The wait for a process ends with patience or with the one who waits, and frees the place."""
    with shared.pool(1, queue=1) as pool, ThreadPoolExecutor(2) as threads:
        running, waiting = Cancellation(), Cancellation()
        first = threads.submit(pool.ask, Ask(ENDLESS), 30, running)
        wait_until(lambda: pool.stats().running == 1)
        second = threads.submit(pool.ask, Ask("SELECT 1"), 30, waiting)
        wait_until(lambda: pool.stats().waiting == 1)
        waiting.cancel()
        assert isinstance(second.exception(20), QueryError)
        with pytest.raises(UnavailableError, match=r"no query process was free within 0\.1 s"):
            pool.run("SELECT 1", {}, 0.1)
        running.cancel()
        assert first.exception(20)


def test_people_do_not_hold_up_rules(shared: Readers) -> None:
    """Two pools share where processes come from and no more: a full one leaves the other alone."""
    with shared.pool(1, queue=0) as people, shared.pool(1) as rules, ThreadPoolExecutor(1) as thread:
        cancellation = Cancellation()
        busy = thread.submit(people.ask, Ask(ENDLESS), 30, cancellation)
        wait_until(lambda: people.stats().running == 1)
        assert rules.run("SELECT 1 AS one", {}, 30).to_pylist() == [{"one": 1}]
        cancellation.cancel()
        assert busy.exception(20)


def test_closing_ends_what_runs(shared: Readers) -> None:
    """A pool that closes ends its queries and leaves no process behind."""
    with shared.pool() as pool, ThreadPoolExecutor(1) as thread:
        running = thread.submit(pool.run, ENDLESS, {}, 30)
        wait_until(lambda: bool(pool._busy))
        (process,) = pool._busy
        pool.close()
        assert isinstance(running.exception(20), QueryError)
        assert process._child.ended()
        with pytest.raises(QueryError, match="shutting down"):
            pool.run("SELECT 1", {}, 30)


def test_a_folder_without_a_lake_is_told(tmp_path: Path) -> None:
    """A process over nothing does not start, and says what to do."""
    with pytest.raises(DataDirectoryError, match="lapwing up"):
        QueryProcess(tmp_path / "lake", LIMITS)


def test_rows_come_as_arrow_whatever_their_type(pool: QueryPool) -> None:
    """Categories, nested values and times keep their types on the way through the pipe."""
    with pool.ask(
        Ask(
            "SELECT 'a'::ENUM('a', 'b') AS e, {'x': [1, 2]} AS s, TIMESTAMP '2026-01-01' AS t",
            fmt=Format.ARROW,
        ),
        30,
    ) as answer:
        table = answer.table()
    assert pa.types.is_dictionary(table.schema.field("e").type)
    assert table.to_pylist() == [{"e": "a", "s": {"x": [1, 2]}, "t": datetime(2026, 1, 1)}]


def counted(pool: QueryPool) -> "Counter[str]":
    return Counter(pool.stats().outcomes)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'a' AS version, 3 AS sample_count, 0.25 AS value, true AS active, NULL::BOOLEAN AS clear",
        "SELECT unnest(['nan'::DOUBLE, 'inf', '-inf', -0.0, 0.1, 1e308, 5e-324]) AS value",
        "SELECT 9223372036854775807 AS most, 18446744073709551615::UBIGINT AS more, 0.1::FLOAT AS little",
        "SELECT unnest(['', 'é', '\U0001f426', 'a\"' || chr(10) || chr(1) || 'b', NULL]) AS label",
        "SELECT sum(range) AS huge, 1.50::DECIMAL(4, 2) AS price FROM range(4)",
        "SELECT TIMESTAMP '2026-01-01' AS at, ['a', NULL] AS reasons, 'x'::BLOB AS bytes",
        "SELECT 1 AS value WHERE false",
    ],
)
def test_plain_rows_are_those_of_the_table(pool: QueryPool, sql: str) -> None:
    """Whatever form short answers take on their way, rows have the values and types that tables have."""
    wanted = Plain.of(pool.run(sql, {}, 60))
    found = pool.rows(sql, {}, 60)
    assert found.columns == wanted.columns
    assert repr([tuple(row) for row in found.rows]) == repr(wanted.rows)


@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(),
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.text(st.characters(exclude_categories=["Cs"])),
            st.none() | st.booleans(),
        )
    )
)
def test_plain_rows_lose_nothing(rows: list[tuple[object, ...]]) -> None:
    """Numbers, texts and truths come out of a plain answer as they went in."""
    names = ("number", "count", "text", "truth")
    kinds = (pa.float64(), pa.int64(), pa.string(), pa.bool_())
    columns = [pa.array([row[at] for row in rows], kind) for at, kind in enumerate(kinds)]
    table = pa.table(dict(zip(names, columns, strict=True)))
    rendered = render(table.to_reader(), Ask("", plain=True))
    answer = Answer(rendered.rows, rendered.truncated, iter(rendered.data), lambda: None)
    assert rendered.data[0].startswith(b"{")
    assert repr([tuple(row) for row in answer.plain().rows]) == repr(rows)


def test_a_plain_answer_has_its_limits(pool: QueryPool) -> None:
    """Too many rows are an error, as of a table, and the next query is answered."""
    with pytest.raises(QueryLimitError, match="more than"):
        pool.rows("SELECT range AS value FROM range(2000000)", {}, 60)
    assert pool.rows("SELECT 1 AS value", {}, 60).rows == [[1]]
