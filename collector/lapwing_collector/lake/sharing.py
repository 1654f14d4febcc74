"""What collectors that write to one lake tell each other, in the transactions of their commits.

Each has its own log and its own ledger of what it accepted. A client whose collector dies between its fsync
and its answer asks another one, which cannot know: so the numbers of records are compared once more where all
meet.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lapwing_collector.engine import literal
from lapwing_collector.lake.catalog import Catalog
from lapwing_collector.lake.statements import sharing, statement
from lapwing_collector.model.records import Batch

MOST_PROCESSES: Final = 200_000
"""Processes whose numbers are remembered; of more, those that were silent longest are forgotten."""

Int64s = npt.NDArray[np.int64]
Ranges = Mapping[str, tuple[Int64s, Int64s]]
"""Numbers by process: the first of each run of them, and the one after its last."""

_ACCEPTED: Final = pa.schema([("process_id", pa.string()), ("numbers", pa.string())])
_VERSIONS: Final = pa.schema([("model", pa.string()), ("version", pa.string())])
_NAMES: Final = pa.schema([("model", pa.string()), ("table_name", pa.string())])

Version = tuple[str, str | None]
"""A model and a version of it."""


class MovedError(RuntimeError):
    """Another collector changed what the work was made for; doing it again helps."""


class RepeatedError(RuntimeError):
    """Another collector has written some of the records.

    Attributes:
        ranges: Their numbers.
    """

    def __init__(self, ranges: Ranges) -> None:
        """Say which."""
        self.ranges = ranges
        super().__init__("another collector has written some of these records")


@dataclass(frozen=True, slots=True)
class Lost:
    """What the numbers of a process say about records that no collector has written.

    Attributes:
        process_id: Who numbered them.
        highest: The highest number that came.
        received: How many came.
        seen_ns: When the newest came.
    """

    process_id: str
    highest: int
    received: int
    seen_ns: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What work for a commit is made for; where it is another by then, the work is done again.

    Attributes:
        definitions: Version of tables, columns and views.
        bins: Grows with bins and segments.
        models: Grows with versions of models.
        snapshot: The newest; that there is a newer one by then does no harm.
    """

    definitions: int
    bins: int
    models: int
    snapshot: int


class Sharing:
    """What one of several collectors says and hears. Who calls it holds the catalog."""

    def __init__(self, catalog: Catalog, writer: str) -> None:
        """Speak for one collector.

        Args:
            catalog: In PostgreSQL.
            writer: Names the collector, now and after it starts again.
        """
        self._catalog = catalog
        self._writer = writer

    def told(self, log: int, metrics: int) -> str | None:  # noqa: ARG002  # it is noted beside
        """What the snapshot of a commit says of what it covers: nothing."""
        return None

    def seen(self) -> Seen:
        """How things are now."""
        return Seen(*map(int, self._catalog.native(sharing("seen"))[0]))

    def progress(self) -> tuple[int, int]:
        """How far this collector's commits cover its log, and those of all of them the queue of metrics."""
        [(log, metrics)] = self._catalog.native(sharing("progress", writer=literal(self._writer)))
        return int(log or 0), int(metrics or 0)

    def names(self) -> dict[str, str]:
        """The table of each model that has claimed one."""
        return dict(self._catalog.native(sharing("names")))

    def claim(self, names: Mapping[str, str]) -> None:
        """Let tables be those of models, for good; in a transaction that has looked at `names`."""
        self._catalog.insert(sharing("claim"), _table(list(names.items()), _NAMES))

    def versions(self) -> set[Version]:
        """The versions of models that have rows."""
        return set(self._catalog.native(sharing("versions")))

    def check(self, known: Seen, versions: Collection[Version], batches: Sequence[Batch]) -> None:
        """Look whether what is about to be committed is still right.

        Args:
            known: What it was made for.
            versions: Those that seemed to be new.
            batches: Its rows.

        Raises:
            MovedError: Something changed.
            RepeatedError: Another collector has some of the rows.
        """
        now = self.seen()
        if (now.definitions, now.bins) != (known.definitions, known.bins):
            raise MovedError
        if versions and now.models != known.models:
            raise MovedError
        numbers = numbers_of(batches)
        if numbers:
            found = self._catalog.native(sharing("accepted", given=_given(numbers)))
            if found:
                raise RepeatedError(_ranges(found))

    def note(self, log: int, metrics: int, versions: Iterable[Version], batches: Sequence[Batch]) -> None:
        """Let everybody know what this commit brings."""
        self._catalog.change(sharing("note"), [self._writer, log, metrics])
        if new := sorted(versions, key=str):
            self._catalog.insert(sharing("add_versions"), _table(new, _VERSIONS))
        if numbers := numbers_of(batches):
            rows = [(process, _multirange(*runs)) for process, runs in sorted(numbers.items())]
            self._catalog.insert(sharing("accept"), _table(rows, _ACCEPTED))

    def losses(self) -> list[Lost]:
        """What the numbers of processes say did not come, to any collector."""
        found = self._catalog.native(sharing("losses"))
        return [Lost(process, *map(int, numbers)) for process, *numbers in found]

    def forget(self) -> None:
        """Forget the processes that were silent longest, where they are too many."""
        with self._catalog.transaction():
            self._catalog.change(sharing("forget"), [MOST_PROCESSES])


class Alone:
    """The same for the only collector of a lake: nobody says or changes anything."""

    _SEEN: Final = Seen(0, 0, 0, 0)

    def __init__(self, catalog: Catalog) -> None:
        """Speak to nobody."""
        self._catalog = catalog

    @staticmethod
    def told(log: int, metrics: int) -> str:
        """What the snapshot of a commit says of what it covers."""
        return json.dumps({"log": log, "metrics": metrics})

    def seen(self) -> Seen:
        """How things are, as ever."""
        return self._SEEN

    def progress(self) -> tuple[int, int]:
        """How far commits cover the log, and the queue of metrics, as the newest that says so does."""
        newest = self._catalog.native(statement("commit_progress"))
        told = json.loads(newest[0][0]) if newest else {}
        return told.get("log", 0), told.get("metrics", 0)

    def names(self) -> dict[str, str]:
        """Those that others have claimed."""
        return {}

    def claim(self, names: Mapping[str, str]) -> None:
        """Nobody else wants them."""

    def versions(self) -> set[Version]:
        """Those that others have brought."""
        return set()

    def check(self, known: Seen, versions: Collection[Version], batches: Sequence[Batch]) -> None:
        """What is about to be committed is right."""

    def note(self, log: int, metrics: int, versions: Iterable[Version], batches: Sequence[Batch]) -> None:
        """There is nobody to be told."""

    def losses(self) -> list[Lost]:
        """Nothing: the collector's ledger knows."""
        return []

    def forget(self) -> None:
        """There is nothing to be forgotten."""


def sharing_of(catalog: Catalog, writer: str) -> Sharing | Alone:
    """What a collector says and hears, be there others or not.

    Args:
        catalog: Of its lake.
        writer: Names the collector, now and after it starts again.
    """
    return Sharing(catalog, writer) if catalog.place.shared else Alone(catalog)


def numbers_of(batches: Sequence[Batch]) -> Ranges:
    """The numbers of the records of some batches."""
    parts: dict[str, list[Int64s]] = {}
    for batch in batches:
        if batch.process_id is not None and batch.sequence.null_count < len(batch.sequence):
            numbers = batch.sequence.drop_null().to_numpy(zero_copy_only=False)
            parts.setdefault(batch.process_id, []).append(numbers)
    return {process: _runs(np.unique(np.concatenate(each))) for process, each in parts.items()}


def without(batches: Sequence[Batch], ranges: Ranges) -> list[Batch]:
    """The batches without the rows whose numbers are in `ranges`."""
    left = []
    for batch in batches:
        taken = None if batch.process_id is None else ranges.get(batch.process_id)
        if taken is None:
            left.append(batch)
            continue
        starts, ends = taken
        numbers = batch.sequence.fill_null(-1).to_numpy(zero_copy_only=False)
        run = np.searchsorted(starts, numbers, side="right") - 1
        inside = (run >= 0) & (numbers < ends[run])
        if not inside.any():
            left.append(batch)
        elif not inside.all():
            left.append(batch.filter(pa.array(~inside)))
    return left


def _runs(numbers: Int64s) -> tuple[Int64s, Int64s]:
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    starts = numbers[np.concatenate([[0], breaks])]
    lasts = numbers[np.concatenate([breaks - 1, [len(numbers) - 1]])]
    return starts, lasts + 1


def _multirange(starts: Int64s, ends: Int64s) -> str:
    runs = (f"[{start},{end})" for start, end in zip(starts.tolist(), ends.tolist(), strict=True))
    return "{" + ",".join(runs) + "}"


def _given(numbers: Ranges) -> str:
    return ", ".join(
        f"({literal(process)}, '{_multirange(*runs)}'::int8multirange)" for process, runs in numbers.items()
    )


def _ranges(found: Iterable[tuple[Any, ...]]) -> Ranges:
    runs: dict[str, list[tuple[int, int]]] = {}
    for process, start, end in found:
        runs.setdefault(process, []).append((int(start), int(end)))
    split = {process: np.array(sorted(each), np.int64).reshape(-1, 2) for process, each in runs.items()}
    return {process: (each[:, 0], each[:, 1]) for process, each in split.items()}


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(zip(*rows, strict=True), schema.types, strict=True)
    return pa.Table.from_arrays([pa.array(column, kind) for column, kind in columns], schema=schema)
