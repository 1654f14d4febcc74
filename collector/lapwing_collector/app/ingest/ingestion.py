"""The durable way in: the log, what is remembered of it, reading it back, and taking requests in."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Self

from lapwing_collector.app.ingest.accounts import Accounts
from lapwing_collector.app.ingest.entries import Requests
from lapwing_collector.app.ingest.ingest import Ingest, Prepare
from lapwing_collector.app.ingest.pending import LogEntry, Pending
from lapwing_collector.app.ingest.recovery import Recovery
from lapwing_collector.app.ingest.remembering import Memory
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.clock import Clock
from lapwing_collector.config import Settings
from lapwing_collector.decode import decode_group, describe_texts
from lapwing_collector.dedup import Loss
from lapwing_collector.model.records import DecodedGroup
from lapwing_collector.wal import Log, leave_to_system, sync_data

_SYNCS: Final = {"fsync": sync_data, "os": leave_to_system, "memory": leave_to_system}

_UNSYNCED_BYTES: Final = 32 << 20
"""What the log may be given while it waits for the disk."""

Texts = Mapping[str, Mapping[tuple[str, ...], bool]]

_WORST: Final = 100
"""How many processes with missing records are named, unless asked for more."""


@dataclass(frozen=True, slots=True)
class IntakeStats:
    """How the log does, and what senders' numbers say.

    Attributes:
        loss: Records that never came.
        log_bytes: Size of the log on disk.
        failing: Whether it cannot be written.
        damaged_parts: How many damaged places were found in it since the start.
        replaying: Whether it is still read back.
    """

    loss: Loss
    log_bytes: int
    failing: bool
    damaged_parts: int
    replaying: bool


class Ingestion:
    """Makes requests durable and hands their rows to `pending`, those of earlier processes first.

    Attributes:
        log: The durable log.
        accounts: Where rows are booked.
        memory: What was accepted.
        recovery: Reads the log back.
        ingest: Takes a request in, once `recovery.learn` is done.
    """

    def __init__(  # noqa: PLR0917  # what is joined
        self,
        log: Log,
        memory: Memory,
        lake_covers: int,
        pending: Pending,
        accounts: Accounts,
        directory: DataDirectory,
        settings: Settings,
        clock: Clock,
        prepare: Prepare | None,
        texts: Texts,
    ) -> None:
        """Join the parts; use `Ingestion.open`."""
        self.log = log
        self.memory = memory
        self.accounts = accounts
        decode = partial(_decode_and_describe, texts) if texts else decode_group
        self.recovery = Recovery(log, lake_covers, memory, pending, accounts, decode, directory.dead_letters)
        self._pending = pending
        self._log_bytes = settings.log.max_bytes
        self.ingest = Ingest(
            log=log,
            ledger=memory.ledger,
            accounts=accounts,
            decode=decode,
            clock=clock,
            has_room=self._has_room,
            on_durable=self._hand_over,
            compare_content=settings.dedup.unnumbered,
            answer_early=settings.durability == "memory",
            prepare=prepare,
        )

    @classmethod
    def open(  # noqa: PLR0917  # what is joined
        cls,
        directory: DataDirectory,
        settings: Settings,
        lake_covers: int,
        pending: Pending,
        accounts: Accounts,
        clock: Clock,
        prepare: Prepare | None = None,
        texts: Texts = MappingProxyType({}),
    ) -> Self:
        """Open the log of a data directory and read what is remembered.

        Args:
            directory: Where it is.
            settings: How durable, how large.
            lake_covers: Up to which position of the log the lake has the rows.
            pending: Gets the rows that the lake does not have, in the order of the log.
            accounts: Where rows are booked.
            clock: Tells when requests come.
            prepare: Changes a request before anything else is done with it.
            texts: Fields that are described, and whether their texts are kept, by model.

        Raises:
            DataDirectoryError: The folder cannot be used, or a later Lapwing wrote it.
        """
        sync = _SYNCS[settings.durability]
        log = Log.open(directory.log, after=lake_covers, sync=sync)
        try:
            memory = Memory.open(log, directory.ledger, sync=sync)
        except BaseException:
            log.close()
            raise
        return cls(log, memory, lake_covers, pending, accounts, directory, settings, clock, prepare, texts)

    @property
    def problem(self) -> str | None:
        """Why nothing can be made durable, or read back, at present, for a person; None while it can."""
        return self.log.problem or self.recovery.problem

    def stats(self, worst: int = 0) -> IntakeStats:
        """How things are now.

        Args:
            worst: How many of the processes with missing records to name, those with the most first.
        """
        return IntakeStats(
            self.memory.ledger.loss(worst),
            self.log.bytes_held,
            self.log.problem is not None,
            len(self.log.damage),
            self.recovery.replaying,
        )

    def senders(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Which SDK processes have records that never came: what commands and pages are told.

        Args:
            asked: `worst` is how many processes to name at most, those with the most first.
        """
        worst = asked.get("worst", _WORST)
        return asdict(self.stats(worst if isinstance(worst, int) and worst >= 0 else _WORST).loss)

    def close(self) -> None:
        """Stop; what was appended is written first."""
        self.ingest.close()
        self.log.close()
        self.memory.close()

    def _has_room(self, unsettled_bytes: int) -> bool:
        return (
            not self._pending.full_with(unsettled_bytes)
            and self.recovery.has_room
            and self.log.waiting_bytes < _UNSYNCED_BYTES
            and self.log.bytes_held < self._log_bytes
        )

    def _hand_over(self, entry: LogEntry, requests: Requests) -> None:
        self.memory.add(entry.position, requests.received_at_ns, requests.admission)
        self.recovery.hand_over(entry, sum(map(len, requests.payloads)))


def _decode_and_describe(texts: Texts, payloads: Sequence[bytes], received_at_ns: int) -> DecodedGroup:
    return describe_texts(decode_group(payloads, received_at_ns), texts)
