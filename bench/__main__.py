"""Runs every benchmark: `make bench`, or `python -m bench NAME …` for some."""

import importlib
import os
import platform
import sys

NAMES = (
    "sdk_overhead",
    "sdk_tables",
    "decode",
    "wal",
    "flush",
    "sharing",
    "moving",
    "scaling",
    "lake_queries",
    "drift",
    "backtest",
    "ingest",
    "latency",
    "overload",
    "restart",
    "rules",
    "false_alarms",
    "notify",
    "ui",
    "alerts",
)


def main() -> None:
    """Say on what machine, then run the benchmarks asked for."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    # `models` takes minutes and `simulation` measures nothing: they run when they are named.
    for name in sys.argv[1:] or NAMES:
        print(f"\n# {name}")
        importlib.import_module(f"bench.{name}").main()


main()
