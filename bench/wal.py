"""The durable log against a plain loop that writes and syncs each entry: entries and bytes per second.

The plain loop is the baseline, measured in the same run on the same disk. Each appender waits for one
append before it makes the next, as a request does; group commit lets those that wait share a sync.
"""

import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

from lapwing_collector.wal import Log
from lapwing_collector.wal.durable import sync_data, write_all

PAYLOAD = os.urandom(16 * 1024)
ENTRIES = 2_000
APPENDERS = (1, 8, 64)


def plain_loop(folder: Path) -> float:
    """Seconds to write and sync every entry by itself."""
    fd = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    start = time.perf_counter()
    for _ in range(ENTRIES):
        write_all(fd, [PAYLOAD])
        sync_data(fd)
    elapsed = time.perf_counter() - start
    os.close(fd)
    return elapsed


def group_commit(folder: Path, appenders: int) -> float:
    """Seconds until so many concurrent appenders have made every entry durable in a log."""

    def append_in_turn(log: Log, entries: int) -> None:
        for _ in range(entries):
            log.append(b"", [PAYLOAD]).result()

    with Log.open(folder) as log:
        threads = [
            threading.Thread(target=append_in_turn, args=(log, ENTRIES // appenders))
            for _ in range(appenders)
        ]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start


def main() -> None:
    """Print a table."""
    print(f"durable log, {ENTRIES} entries of {len(PAYLOAD) // 1024} KiB")
    print(f"{'':24}{'entries/s':>12}{'MB/s':>10}{'ratio':>8}")
    folder = Path(tempfile.mkdtemp(prefix="lapwing-bench-"))
    try:
        plain_s = plain_loop(folder)
        rows = [("plain write + sync", ENTRIES, plain_s)]
        for appenders in APPENDERS:
            entries = ENTRIES // appenders * appenders
            rows.append(
                (f"log, {appenders} appenders", entries, group_commit(folder / str(appenders), appenders))
            )
    finally:
        shutil.rmtree(folder)
    for name, entries, elapsed_s in rows:
        rate = entries / elapsed_s
        print(f"{name:24}{rate:12.0f}{rate * len(PAYLOAD) / 1e6:10.1f}{rate * plain_s / ENTRIES:8.2f}")


if __name__ == "__main__":
    main()
