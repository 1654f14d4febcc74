"""Errors that people or clients see.

    LapwingError                 anything Lapwing says no to; the message tells what, where and what to do
    ├── ConfigError              a settings, rule or notify file is wrong
    │   ├── MistakesError        what is wrong in one file, mistake by mistake
    │   ├── UnknownModelError    there is no model of a name
    │   ├── UnknownMetricError   there is no metric of a name
    │   ├── UnknownRuleError     there is no rule of a name
    │   └── UnknownEvaluationError   there is no evaluation of an id
    ├── DataDirectoryError       the data directory cannot be used (permissions, another owner, not a lake)
    ├── AddressInUseError        a port is taken
    ├── QueryError               SQL that is refused, fails, or runs over its limits
    │   ├── NotSeenYetError      it names a table or a field that no record has brought yet
    │   ├── RefusedQueryError    it is no SELECT, or asks for more than reading tables
    │   ├── DamagedFileError     it needs a file of the lake that is damaged or gone
    │   └── QueryLimitError      it took too long, too much memory, or has too large an answer
    ├── DecodeError              a request body that is not what it claims to be (HTTP status hint)
    ├── AccessError              who asks has not shown that they may (HTTP status hint)
    └── UnavailableError         not now, try again: overload, a full disk, shutting down
        ├── StateUnavailableError   the database of alert states is away
        └── LakeHeldError           the lake is taken elsewhere, and not written where it is

Their messages are for people: what happened, where, and what to do.
"""

import os
from errno import ENOENT
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class LapwingError(Exception):
    """Anything Lapwing says no to. The message is one or more lines meant for a person."""


class ConfigError(LapwingError):
    """A settings, rule or notify file is wrong; the message names file, line, key and what is expected."""


def reason(error: Exception) -> str:
    """Why something cannot be read or written, as the system says it: no number, and no name once more."""
    if isinstance(error, FileNotFoundError):  # of which pyarrow's have no number
        return os.strerror(ENOENT)
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


class MistakesError(ConfigError):
    """What is wrong in one file; the message has a line `file:line: what` for each mistake.

    Attributes:
        file: Its name.
        mistakes: Line (None where that is unknown) and what is wrong there, in order.
    """

    def __init__(self, file: str, mistakes: "Iterable[tuple[int | None, str]]") -> None:
        """Put the message together."""
        self.file = file
        self.mistakes = tuple(mistakes)
        places = [file if line is None else f"{file}:{line}" for line, _ in self.mistakes]
        told = (f"{place}: {what}" for place, (_, what) in zip(places, self.mistakes, strict=True))
        super().__init__("\n".join(told))


class UnknownModelError(ConfigError):
    """There is no model of a name."""


class UnknownMetricError(ConfigError):
    """There is no metric of a name."""


class UnknownRuleError(ConfigError):
    """There is no rule of a name."""


class UnknownEvaluationError(ConfigError):
    """There is no evaluation of an id."""


class DataDirectoryError(LapwingError):
    """The data directory cannot be used."""


class AddressInUseError(LapwingError):
    """A port is taken."""


class QueryError(LapwingError):
    """SQL that is refused, fails, or runs over its limits.

    Attributes:
        position: The character of the SQL where the mistake is, counted from 0; None where it is unknown.
        candidates: Names that may have been meant.
    """

    def __init__(
        self, message: str, *, position: int | None = None, candidates: tuple[str, ...] = ()
    ) -> None:
        """Keep the message and what helps to mend the SQL."""
        super().__init__(message)
        self.position = position
        self.candidates = candidates


class NotSeenYetError(QueryError):
    """It names a table or a field that no record has brought yet; while data is to come, no mistake."""


class RefusedQueryError(QueryError):
    """It is no SELECT, or asks for more than reading tables."""


class DamagedFileError(QueryError):
    """It needs a file of the lake that is damaged or gone.

    Attributes:
        file: Which, from the folder of the lake's files on; None where DuckDB does not tell.
    """

    def __init__(self, message: str, *, file: str | None = None) -> None:
        """Keep the message and the file."""
        super().__init__(message)
        self.file = file


class QueryLimitError(QueryError):
    """It took too long, too much memory, or has too large an answer."""


class DecodeError(LapwingError):
    """A request body that is not what it claims to be.

    Attributes:
        status_hint: The HTTP status that tells the client so, a 4xx that OTLP clients do not retry.
    """

    def __init__(self, message: str, status_hint: int = 400) -> None:
        """Keep the message and the status hint."""
        super().__init__(message)
        self.status_hint = status_hint


class AccessError(LapwingError):
    """Who asks has not shown that they may.

    Attributes:
        status_hint: 401 where it is not known who asks, 403 where it is, and they may not.
    """

    def __init__(self, message: str, status_hint: int) -> None:
        """Keep the message and the status hint."""
        super().__init__(message)
        self.status_hint = status_hint


class UnavailableError(LapwingError):
    """Not now, try again: overload, a full disk, shutting down.

    Attributes:
        retry_after_s: Seconds after which trying again is worth it; kept small, because stock OTLP
            clients drop their data at once when it exceeds their remaining time.
    """

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        """Keep the message and the delay."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StateUnavailableError(UnavailableError):
    """The database of alert states is away: it restarts, or cannot be reached."""


class LakeHeldError(UnavailableError):
    """The lake is taken elsewhere, or was: where it is, nothing is written any more."""
