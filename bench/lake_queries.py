"""Ten million predictions in the lake: what they take on disk, and how long an aggregate and a look-up take.

    python -m bench lake_queries

The rows are those of `bench/decode.py` with time-ordered ids as the SDK makes them, a millisecond apart, in
files of half a million, as compaction leaves them. Each question is asked as `lapwing sql` asks it, by a
session that is open, over the catalog as it is then; the baseline is DuckDB over one plain Parquet file of a
twentieth of the rows, times twenty.
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from bench.decode import START_NS, request_of
from bench.flush import flush, joined

from lapwing._request import Envelope
from lapwing._time import new_prediction_id
from lapwing.testing import capture
from lapwing_collector.decode import decode_logs
from lapwing_collector.demo.flights import events, load_flights, replayed, training
from lapwing_collector.demo.model import compile_service, train
from lapwing_collector.demo.replay import replay
from lapwing_collector.lake import Lake
from lapwing_collector.lake.shapes import reconcile
from lapwing_collector.model.records import Batch
from lapwing_collector.query import Session

FILES = 20
ROWS_PER_FILE = 500_000
PER_REQUEST = 1000
DISTINCT = 50
FLIGHTS = 60_000
ASKED = 40


def main() -> None:
    """Print bytes a row and the median and 95th percentile of each question in milliseconds."""
    tell_flights()
    draw = Random(11)
    payloads = [request_of(draw, PER_REQUEST, n * PER_REQUEST) for n in range(DISTINCT)]
    batches = [batch for payload in payloads for batch in decode_logs(payload, START_NS).batches]
    sent = sum(map(len, payloads)) / (DISTINCT * PER_REQUEST)
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.open(Path(folder) / "lake")
        template = joined(batches * (ROWS_PER_FILE // (DISTINCT * PER_REQUEST)))
        plain = Path(folder) / "plain.parquet"
        ids = []
        for number in range(FILES):
            part = at(template, number, draw)
            ids.append(part.rows.column("prediction_id")[draw.randrange(ROWS_PER_FILE)].as_py())
            if not number:
                rows = reconcile([part], {}, stored_integers_exact=lambda _: True).rows
                pq.write_table(rows, plain, compression="zstd")
                del rows
            flush(lake, [part])
        files = [each for each in (Path(folder) / "lake").rglob("*.parquet") if "models" not in each.parts]
        stored = sum(each.stat().st_size for each in files) / (FILES * ROWS_PER_FILE)
        count = FILES * ROWS_PER_FILE
        print(
            f"{count:,} rows, {stored:.1f} bytes each, as OTLP {sent:.1f}: {sent / stored:.2f} times smaller"
        )
        connection = duckdb.connect()
        source = f"read_parquet('{plain}')"
        tell(
            "plain file, aggregate x 20",
            lambda _: connection.execute(AGGREGATE.format(source)).fetchall(),
            20,
        )
        session = Session.open(Path(folder) / "lake")
        table = "predictions.churn"
        tell("aggregate of one column", lambda _: session.run(AGGREGATE.format(table)))
        tell("filter and group", lambda _: session.run(GROUPED.format(table)))
        tell("one row by its id", lambda n: session.run(f"{LOOK_UP} '{ids[n % FILES]}'"))
        session.close()
        lake.close()


def tell_flights() -> None:
    """Print what real flights and their labels take on the wire and in the lake, a file for each table."""
    flights = load_flights()
    service = compile_service(train(training(flights).head(5000)))
    with capture() as recorded:
        replay(events(replayed(flights).head(FLIGHTS)), service)
        entries = recorded._entries  # noqa: SLF001  # as the exporter sees them
    resource = {"service.name": "departures", "lapwing.process.id": "bench"}
    envelope = Envelope(resource)
    payloads = [envelope.request(entries[at : at + 512]) for at in range(0, len(entries), 512)]
    batches = [batch for payload in payloads for batch in decode_logs(payload, START_NS).batches]
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.open(Path(folder) / "lake")
        flush(lake, batches)
        lake.close()
        files = [each for each in (Path(folder) / "lake").rglob("*.parquet") if "models" not in each.parts]
        stored = sum(each.stat().st_size for each in files)
    sent = sum(map(len, payloads))
    print(f"{len(entries):,} flights and labels, {sent / stored:.2f} times smaller than as OTLP")


AGGREGATE = "SELECT avg(output.score) FROM {}"
GROUPED = "SELECT inputs.city_0, count(*), avg(output.score) FROM {} WHERE inputs.count_0 > 500 GROUP BY 1"
LOOK_UP = "SELECT * FROM predictions.churn WHERE prediction_id ="


def at(batch: Batch, number: int, draw: Random) -> Batch:
    """The batch's rows with times and ids of the file numbered `number`, of as many rows each."""
    rows = batch.rows
    first_ns = START_NS + number * rows.num_rows * 1_000_000
    times_ns = range(first_ns, first_ns + rows.num_rows * 1_000_000, 1_000_000)
    micros = pa.array([time_ns // 1000 for time_ns in times_ns], pa.timestamp("us"))
    new = {
        "time": micros,
        "received_at": pa.array(
            [micros[-1].as_py() + timedelta(seconds=1)] * rows.num_rows, pa.timestamp("us")
        ),
        "prediction_id": pa.array([new_prediction_id(time_ns) for time_ns in times_ns]),
        "trace_id": pa.array([f"{draw.getrandbits(128):032x}" for _ in times_ns]),
        "span_id": pa.array([f"{draw.getrandbits(64):016x}" for _ in times_ns]),
    }
    for name, values in new.items():
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(place), values)
    fields = tuple(
        dataclasses.replace(field, values=pa.array([draw.random() for _ in times_ns]))
        if pa.types.is_floating(field.values.type)
        else field
        for field in batch.fields
    )
    return dataclasses.replace(batch, rows=rows, fields=fields)


def tell(name: str, ask: Callable[[int], object], times: int = 1) -> None:
    """Ask again and again, and print how long it took."""
    spent = []
    for number in range(ASKED):
        started = time.perf_counter()
        ask(number)
        spent.append((time.perf_counter() - started) * 1e3 * times)
    print(f"{name:28} {statistics.median(spent):8.1f} ms {statistics.quantiles(spent, n=20)[-1]:8.1f} ms p95")


if __name__ == "__main__":
    main()
