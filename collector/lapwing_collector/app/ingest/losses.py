"""The duty that tells the lake which numbered records never came, so that SQL and rules can ask for them.

A row is added for a process when what is missing of it has changed; what is merely on its way is given half a
minute to come.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import pyarrow as pa

from lapwing_collector.app.background.rounds import Rounds
from lapwing_collector.clock import utc_datetime
from lapwing_collector.dedup import Loss, SenderLoss
from lapwing_collector.lake import Lake

_EVERY_S: Final = 30.0
_ALL: Final = 1 << 30

_KNOWN: Final = """
SELECT process_id, missing FROM record_losses
QUALIFY row_number() OVER (PARTITION BY process_id ORDER BY observed_at DESC) = 1
"""

_ROWS: Final = pa.schema(
    [
        ("process_id", pa.string()),
        ("seen_at", pa.timestamp("us")),
        ("observed_at", pa.timestamp("us")),
        ("highest", pa.int64()),
        ("received", pa.int64()),
        ("missing", pa.int64()),
    ]
)


def loss_of(lake: Lake, worst: int) -> Loss:
    """What is missing of processes that send to several collectors; of `worst` of them at most."""
    lost = [
        SenderLoss(each.process_id, each.highest, each.received, each.highest - each.received, each.seen_ns)
        for each in lake.losses()
    ]
    lost.sort(key=lambda each: (-each.missing, each.process_id))
    return Loss(sum(each.missing for each in lost), len(lost), 0, tuple(lost[:worst]))


class Losses:
    """Keeps `record_losses` of one lake, until closed."""

    def __init__(
        self,
        lake: Lake,
        loss: Callable[[int], Loss],
        *,
        now: Callable[[], datetime],
        is_mine: Callable[[], bool] = lambda: True,
    ) -> None:
        """Wire the parts.

        Args:
            lake: Written through its one writer.
            loss: Tells what is missing, of so many processes at most.
            now: The wall clock.
            is_mine: Whether it is this process that does so, of all that share the lake.
        """
        self._is_mine = is_mine
        self._lake = lake
        self._loss = loss
        self._now = now
        self._told: dict[str, int] | None = None
        self._before: dict[str, int] = {}
        self._rounds = Rounds(
            "lapwing-losses",
            _EVERY_S,
            self._look,
            failed="missing records could not be told",
            action="losses_failed",
        )

    def start(self) -> None:
        """Begin."""
        self._rounds.start()

    def close(self, timeout_s: float) -> bool:
        """Stop; tells whether that was in time."""
        return self._rounds.close(timeout_s)

    def work(self) -> None:
        """Add what has changed since the last call, and was missing then already.

        Raises:
            OSError: The disk is full, or refuses.
            duckdb.Error: The catalog refuses.
        """
        if self._told is None:
            self._told = dict(self._lake.catalog.rows(_KNOWN))
        senders = {sender.process_id: sender for sender in self._loss(_ALL).worst}
        now = self._now()
        changed: dict[str, int] = {}
        rows = []
        for process_id in senders.keys() | {known for known, missing in self._told.items() if missing}:
            sender = senders.get(process_id)
            told = self._told.get(process_id, 0)
            steady = max(self._before.get(process_id, 0), told)
            missing = min(sender.missing, steady) if sender is not None else 0
            if missing != told:
                changed[process_id] = missing
                rows.append(
                    {
                        "process_id": process_id,
                        "seen_at": now if sender is None else utc_datetime(sender.seen_ns),
                        "observed_at": now,
                        "highest": None if sender is None else sender.highest,
                        "received": None if sender is None else sender.accepted,
                        "missing": missing,
                    }
                )
        self._before = {process_id: sender.missing for process_id, sender in senders.items()}
        if rows:
            self._lake.add_rows({"record_losses": pa.Table.from_pylist(rows, schema=_ROWS)})
            self._told |= changed

    def _look(self) -> None:
        if self._is_mine():
            self.work()
        else:
            self._told = None  # another one tells them now
