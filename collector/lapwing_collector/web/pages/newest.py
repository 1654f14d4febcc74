"""How far back the newest rows reach, by counts of hours: a long range is not looked through for a few."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from lapwing_collector.web.pages.page import View

_SHORT = timedelta(hours=6)
_WIDER = 40
"""How many times as many rows are looked at where too few of the newest are wanted ones."""


@dataclass(frozen=True, slots=True)
class Newest:
    """Rows of one stage in a range of time, counted by hour.

    Attributes:
        since: Where the range begins.
        until: Where it ends.
        hours: Hours that have rows, the newest first, with how many.
    """

    since: datetime
    until: datetime
    hours: tuple[tuple[datetime, int], ...]

    @classmethod
    def of(cls, view: View, table: str, stage: str, until: datetime | None = None) -> "Newest":
        """Count the rows in a view's range of time, or up to `until` if that is earlier.

        Raises:
            LapwingError: The lake cannot be asked.
        """
        since, until = view.span.since, view.span.until if until is None else min(until, view.span.until)
        if until - since <= _SHORT:
            return cls(since, until, ())
        found = view.rows(
            "SELECT time, sum(list_sum(counts))::BIGINT AS n FROM profiles "
            "WHERE table_name = $table AND field = 'duration_ms' AND segment = '' AND stage = $stage "
            "AND time >= date_trunc('hour', $since) AND time < $until GROUP BY time ORDER BY time DESC",
            table=table,
            stage=stage,
            since=since,
            until=until,
        )
        return cls(since, until, tuple((row["time"], row["n"]) for row in found))

    @property
    def rows(self) -> int:
        """How many there are, to the hour."""
        return sum(n for _, n in self.hours)

    def begin_of(self, wanted: int) -> datetime:
        """Since when there are so many rows; the begin of the range where there are not."""
        rows = 0
        for hour, n in self.hours:
            rows += n
            if rows >= wanted:
                return max(hour, self.since)
        return self.since

    def begins(self, wanted: int) -> Iterator[datetime]:
        """Since when to look for so many rows, of which some are wanted: ever further back."""
        begin: datetime | None = None
        while begin is None or begin > self.since:
            begin = self.begin_of(wanted)
            yield begin
            wanted *= _WIDER
