"""The ledger of accepted records: per process, the set of its sequence numbers."""

import json
from typing import Final, Self

import numpy as np

from lapwing_collector.dedup.intervals import Bools, Int64s, Intervals
from lapwing_collector.errors import DataDirectoryError

_VERSION: Final = 1


class Ledger:
    """Which records of which process were accepted, without a time limit.

    A process numbers its records from 1, and exporters send them nearly in order, so that what is
    remembered of a process is normally one interval. Not safe for use by several threads at once.
    """

    def __init__(self) -> None:
        """Know no process."""
        self._accepted: dict[str, Intervals] = {}

    def admit(self, process_id: str, sequences: Int64s) -> Bools:
        """Accept what is new among `sequences`.

        Args:
            process_id: Who numbered the records.
            sequences: Their numbers, in any order. Where one is repeated, these are rows of one record.

        Returns:
            True where a number was not accepted by an earlier call, so that a record's rows share its fate.
        """
        if not len(sequences):
            return np.zeros(0, dtype=np.bool_)
        accepted = self._accepted.get(process_id)
        if accepted is not None and _is_run(sequences):
            if accepted.extend(int(sequences[0]), int(sequences[-1])):
                return np.ones(len(sequences), dtype=np.bool_)
            if accepted.cover(int(sequences[0]), int(sequences[-1])):
                return np.zeros(len(sequences), dtype=np.bool_)
        values, positions = np.unique(sequences, return_inverse=True)
        if accepted is None:
            fresh = np.ones(len(values), dtype=np.bool_)
            self._accepted[process_id] = Intervals.runs(values)
        else:
            fresh = ~accepted.contain(values)
            accepted.add(Intervals.runs(values[fresh]))
        return fresh[positions]

    def forget(self, process_id: str, sequences: Int64s) -> None:
        """Take back `sequences`, which were admitted and then not stored, so that a retry is new again."""
        accepted = self._accepted.get(process_id)
        if accepted is None:
            return
        accepted.remove(Intervals.runs(np.unique(sequences)))
        if not len(accepted.starts):
            del self._accepted[process_id]

    def snapshot(self) -> bytes:
        """The ledger as bytes for `restore`."""
        processes = {process_id: accepted.pairs() for process_id, accepted in self._accepted.items()}
        return json.dumps({"version": _VERSION, "processes": processes}, separators=(",", ":")).encode()

    @classmethod
    def restore(cls, snapshot: bytes) -> Self:
        """The ledger that `snapshot` was taken of.

        Raises:
            DataDirectoryError: The bytes are not a snapshot, or one of another version.
        """
        ledger = cls()
        try:
            document = json.loads(snapshot)
            version = document["version"]
            if version == _VERSION:
                for process_id, pairs in document["processes"].items():
                    ledger._accepted[process_id] = Intervals.of(pairs)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DataDirectoryError(f"the ledger of accepted records cannot be read: {error!r}") from error
        if version != _VERSION:
            raise DataDirectoryError(
                f"the ledger of accepted records has version {version!r}, and this Lapwing reads {_VERSION}; "
                "start the version of Lapwing that wrote it"
            )
        return ledger


def _is_run(sequences: Int64s) -> bool:
    """Whether each number is the one before it and one more: the common case, and cheap to tell."""
    if int(sequences[-1]) - int(sequences[0]) != len(sequences) - 1:
        return False
    return bool((sequences[1:] - 1 == sequences[:-1]).all())
