"""A lake in memory uses as many threads as its tables are shared out among."""

from contextlib import closing

import duckdb
import pyarrow as pa

from lapwing_collector.app.rule_tools.memory_lake import MemoryLake

THREADS = "SELECT current_setting('threads')"


def test_only_large_tables_are_shared_out_among_threads() -> None:
    """Up to what DuckDB leaves to one thread there is one, and beyond as many as DuckDB likes."""
    with closing(duckdb.connect()) as other:
        usual = other.execute(THREADS).fetchall()
    with MemoryLake() as lake:
        lake.put("predictions.small", pa.table({"inputs.x": range(122_880)}))
        assert lake._connection.execute(THREADS).fetchall() == [(1,)]
        lake.put("predictions.large", pa.table({"inputs.x": range(122_881)}))
        assert lake._connection.execute(THREADS).fetchall() == usual
