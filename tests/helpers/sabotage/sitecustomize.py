"""Breaks the product on purpose, as LAPWING_SABOTAGE says, in processes that have this folder on their path.

A campaign that does not notice proves nothing.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def skip_the_sync() -> None:
    """Acknowledge what is in the page cache only."""
    os.fdatasync = lambda descriptor: None


def acknowledge_early() -> None:
    """Say yes before the log has anything, which it gets a little later."""
    from lapwing_collector.wal import Log

    append = Log.append

    def hasty(log: Log, *entry: Any) -> Future[int]:
        later = threading.Timer(600, append, (log, *entry))
        later.daemon = True
        later.start()
        done: Future[int] = Future()
        done.set_result(log.last_position + 1)
        return done

    Log.append = hasty  # type: ignore[method-assign]


def forget_the_position() -> None:
    """Commit rows without saying how far in the log they go."""
    from lapwing_collector.lake import Lake, Progress

    Lake.progress = property(lambda lake: Progress())  # type: ignore[assignment,method-assign]
    Lake._committed_progress = lambda lake: lake._progress  # type: ignore[method-assign]


def release_early() -> None:
    """Let go of the log as soon as something is in it."""
    from lapwing_collector.wal import Log

    opened = Log.open.__func__  # type: ignore[attr-defined]
    append = Log.append

    def small(cls: type[Log], *args: Any, **options: Any) -> Log:
        log: Log = opened(cls, *args, **{**options, "segment_bytes": 4096})
        return log

    def forgetful(log: Log, *entry: Any) -> Future[int]:
        done = append(log, *entry)
        log.release(log.last_position)
        return done

    Log.open = classmethod(small)  # type: ignore[assignment,method-assign]
    Log.append = forgetful  # type: ignore[method-assign]


def skip_the_ledger() -> None:
    """Take every record for a new one."""
    import numpy as np

    from lapwing_collector.dedup import Admitting, Ledger

    def all_new(*arguments: Any) -> Any:
        return np.ones(len(arguments[-1]), np.bool_)

    def none_known(_: Ledger, hashes: Any) -> Any:
        return np.zeros(len(hashes), np.bool_)

    Admitting.admit = Admitting.admit_records = all_new  # type: ignore[assignment,method-assign]
    Ledger.knows_requests = none_known  # type: ignore[method-assign]


SABOTAGES: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (skip_the_sync, acknowledge_early, forget_the_position, release_early, skip_the_ledger)
}

if name := os.environ.get("LAPWING_SABOTAGE"):
    SABOTAGES[name]()
