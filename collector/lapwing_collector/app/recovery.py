"""After a start: what the log has and the lake has not is queued, as if it had just come in."""

import logging
from pathlib import Path

from lapwing_collector.app.ingest import admit, unframe
from lapwing_collector.app.pending import LogEntry, Pending
from lapwing_collector.clock import utc_datetime
from lapwing_collector.decode import decode_logs
from lapwing_collector.dedup import Ledger
from lapwing_collector.errors import DecodeError
from lapwing_collector.lake import Lake
from lapwing_collector.model.records import Batch
from lapwing_collector.wal import Entry, Log, write_durably

logger = logging.getLogger(__name__)


class Recovery:
    """Reads the log back in two steps, between which the writer may start.

    Attributes:
        accepted: Records that were accepted; complete after `queue_uncovered`.
        covered: Records that the lake has; complete after `admit_covered`, and the writer's from then on.
    """

    def __init__(self, log: Log, lake: Lake, pending: Pending, dead_letters: Path) -> None:
        """Begin from the log's checkpoint; entries that cannot be read go to the folder `dead_letters`."""
        self._log = log
        self._lake_covers = lake.progress.log
        self._pending = pending
        self._dead_letters = dead_letters
        checkpoint = log.read_checkpoint()
        self._checkpoint = 0 if checkpoint is None else checkpoint[0]
        self.accepted = Ledger() if checkpoint is None else Ledger.restore(checkpoint[1])
        self.covered = Ledger() if checkpoint is None else Ledger.restore(checkpoint[1])

    def admit_covered(self) -> None:
        """Learn the records of entries that the lake covers and the checkpoint does not: a flush or two."""
        for entry in self._log.replay(after=self._checkpoint):
            if entry.position > self._lake_covers:
                return
            batches = self._new_rows(entry)
            admit(self.covered, batches)

    def queue_uncovered(self) -> None:
        """Queue everything else, waiting for room; ends early if the queue is closed."""
        queued = 0
        for entry in self._log.replay(after=max(self._checkpoint, self._lake_covers)):
            if not self._pending.wait_for_room():
                return
            received_at_ns, _ = unframe(entry.payload)
            self._pending.put(LogEntry(entry.position, utc_datetime(received_at_ns), self._new_rows(entry)))
            queued += 1
        if queued:
            logger.info("read back %d requests from the log", queued, extra={"action": "recovered"})

    def _new_rows(self, entry: Entry) -> tuple[Batch, ...]:
        received_at_ns, payload = unframe(entry.payload)
        try:
            decoded = decode_logs(payload, received_at_ns)
        except DecodeError as error:
            self._dead_letters.mkdir(exist_ok=True)
            file = self._dead_letters / f"{entry.position}.otlp"
            write_durably(file, payload)  # the log lets go of it
            logger.error("log entry %d cannot be read any more; kept as %s: %s", entry.position, file, error)  # noqa: TRY400
            return ()
        return admit(self.accepted, decoded.batches)
