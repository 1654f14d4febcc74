"""How long rows are kept: which files are too old, or too many, and what becomes of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from lapwing_collector.lake.files import TableName, TimedFile

PROFILES: Final = TableName("main", "profiles")

_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # times are naive UTC


@dataclass(frozen=True, slots=True)
class Keep:
    """What is kept of something.

    Attributes:
        age: Rows whose time lies further back are removed; None for no limit.
        size_bytes: The oldest files are removed while there is more than this; None for no limit.
    """

    age: timedelta | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept of everything.

    Attributes:
        default: Age for models that have none of their own; size for all of them and the logs together.
        models: By table name, in lower case.
        logs: For log records that are neither predictions nor labels.
        profiles: For counts, which take little and are worth much when the rows are gone.
    """

    default: Keep = Keep()
    models: Mapping[str, Keep] = field(default_factory=dict)
    logs: Keep = Keep()
    profiles: Keep = Keep()

    @property
    def limits_anything(self) -> bool:
        """Whether there is anything to do."""
        return any(keep != Keep() for keep in (self.default, self.logs, self.profiles, *self.models.values()))

    def of(self, table: TableName) -> Keep:
        """What holds for a table by itself."""
        if table == PROFILES:
            return self.profiles
        if table.schema == "main":
            return Keep(self.logs.age or self.default.age, self.logs.size_bytes)
        own = self.models.get(table.name.lower(), Keep())
        return Keep(own.age or self.default.age, own.size_bytes)


@dataclass(frozen=True, slots=True)
class Removal:
    """Rows of one file that are to go.

    Attributes:
        timed: The file.
        before: Rows with an earlier time go; None for all of them.
    """

    timed: TimedFile
    before: datetime | None = None


def plan(files: Sequence[TimedFile], retention: Retention, now: datetime) -> list[Removal]:
    """What is to be removed, the oldest first.

    Args:
        files: All there are, the oldest first. Those of unknown times go for their size only.
        retention: What is kept.
        now: Naive UTC.
    """
    removals = {each.file.path: removal for each in files if (removal := _too_old(each, retention, now))}
    for group, most_bytes in _groups(files, retention):
        kept = [each for each in group if each.file.path not in removals or removals[each.file.path].before]
        held_bytes = sum(each.file.size_bytes for each in kept)
        for each in kept:
            if held_bytes <= most_bytes:
                break
            removals[each.file.path] = Removal(each)
            held_bytes -= each.file.size_bytes
    return list(removals.values())


def cutoff(age: timedelta, now: datetime) -> datetime:
    """Before when rows are too old: whole days, or hours where little is kept, so that it seldom moves."""
    step = _DAY if age > 2 * _DAY else _HOUR
    exact = now - age
    return exact - (exact - _EPOCH) % step


def _too_old(timed: TimedFile, retention: Retention, now: datetime) -> Removal | None:
    age = retention.of(timed.table).age
    if age is None or timed.first is None or timed.last is None:
        return None
    before = cutoff(age, now)
    if timed.last < before:
        return Removal(timed)
    return Removal(timed, before) if timed.first < before else None


def _groups(files: Sequence[TimedFile], retention: Retention) -> list[tuple[list[TimedFile], int]]:
    """Files that share a limit of size, with the limit: a model's predictions and labels, then everything."""
    by_owner: defaultdict[tuple[bool, str], list[TimedFile]] = defaultdict(list)
    limits: dict[tuple[bool, str], int] = {}
    for each in files:
        own = retention.of(each.table).size_bytes
        if own is not None:
            owner = (each.table.schema == "main", each.table.name.lower())
            by_owner[owner].append(each)
            limits[owner] = own
    groups = [(by_owner[owner], limit) for owner, limit in limits.items()]
    if retention.default.size_bytes is not None:
        groups.append(([each for each in files if each.table != PROFILES], retention.default.size_bytes))
    return groups
