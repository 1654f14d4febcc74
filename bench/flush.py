"""From durable rows to committed Parquet, against pyarrow writing the same rows to a plain file.

    python -m bench flush

CPU time of the process with all its threads, the best of some rounds. The baseline is
`pyarrow.parquet.write_table` with zstd, of one table that is there already: no typing of fields, no reading
back, no sync, no catalog. The rows are those of `bench/decode.py`, with time-ordered ids as the SDK makes
them, in batches as decoding makes them; a table is one Arrow batch of many rows.
"""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
from bench.decode import START_NS, request_of

from lapwing._time import new_prediction_id
from lapwing_collector.decode import decode_logs
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.lake.shapes import reconcile
from lapwing_collector.model.records import Batch

ROWS = 102_400
PER_REQUEST = 512
ROUNDS = 5
MODELS = (1, 10, 50, 200)


def main() -> None:
    """Print rows per second and core, sizes, and how long a flush takes by the number of models."""
    draw = Random(7)
    payloads = [request_of(draw, PER_REQUEST, first) for first in range(0, ROWS, PER_REQUEST)]
    batches = [with_ids(batch) for payload in payloads for batch in decode_logs(payload, START_NS).batches]
    table = reconcile(batches, {}, stored_integers_exact=lambda _: True).rows
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plain.parquet"
        plain = best_of(lambda: pq.write_table(table, file, compression="zstd"))
        print(
            f"pyarrow alone   {ROWS / plain:10,.0f} rows/s/core {file.stat().st_size / ROWS:6.1f} bytes a row"
        )
        lake = Lake.open(Path(folder) / "lake")
        for name, rows in (("512 at a time", batches), ("one table", [joined(batches)])):
            flush(lake, rows)
            spent = best_of(partial(flush, lake, rows))
            print(f"{name:15} {ROWS / spent:10,.0f} rows/s/core, {spent / plain:.2f} times pyarrow alone")
        stored = max(each.stat().st_size for each in (Path(folder) / "lake").rglob("*.parquet"))
        sent = sum(map(len, payloads))
        print(f"{stored / ROWS:.1f} bytes a row, {sent / stored:.2f} times smaller than its OTLP protobuf")
        print("models in a flush, 512 rows each:")
        for count in MODELS:
            rows = [dataclasses.replace(batches[n % 200], model=f"model{n}") for n in range(count)]
            flush(lake, rows)
            started = time.perf_counter()
            spent = best_of(partial(flush, lake, rows), 3)
            wall = (time.perf_counter() - started) / 3
            print(f"{count:5} {wall * 1e3:8.0f} ms, {spent / count * 1e3:.1f} ms of CPU a model")
        lake.close()


def flush(lake: Lake, batches: Sequence[Batch]) -> None:
    """Write and commit."""
    lake.flush(batches, [], Progress(lake.progress.log + 1, 0))


def with_ids(batch: Batch) -> Batch:
    """The batch with ids as the SDK makes them."""
    place = batch.rows.schema.get_field_index("prediction_id")
    times = batch.rows.column("time").cast(pa.int64()).to_pylist()
    ids = pa.array([new_prediction_id(micros * 1000) for micros in times])
    return dataclasses.replace(batch, rows=batch.rows.set_column(place, batch.rows.schema.field(place), ids))


def joined(batches: Sequence[Batch]) -> Batch:
    """One batch of all rows, as a client with a table sends them."""
    first = batches[0]
    fields = [
        dataclasses.replace(field, values=pa.concat_arrays([batch.fields[place].values for batch in batches]))
        for place, field in enumerate(first.fields)
    ]
    return dataclasses.replace(
        first,
        sequence=pa.concat_arrays([batch.sequence for batch in batches]),
        rows=pa.Table.from_batches([batch.rows for batch in batches]).combine_chunks().to_batches()[0],
        fields=tuple(fields),
    )


def best_of(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """CPU seconds of the best round."""
    spent = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return min(spent)


if __name__ == "__main__":
    main()
