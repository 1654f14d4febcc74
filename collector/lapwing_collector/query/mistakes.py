"""From DuckDB's errors to ours: what is wrong, where in the SQL, and what may have been meant."""

import json
import os
import re
from errno import EACCES, EMFILE, ENFILE, ENOMEM, EPERM
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import duckdb

from lapwing_collector.errors import (
    DamagedFileError,
    NotSeenYetError,
    QueryError,
    QueryLimitError,
    RefusedQueryError,
)

_NOT_SEEN: Final = re.compile(
    r"(Table|View) with name .* does not exist|Referenced (column|table) .* not found|Could not find key"
)
_OUT_OF_MEMORY: Final = re.compile(
    r"out of memory|could not allocate|failed to allocate|bad_?alloc", re.IGNORECASE
)
_FILE: Final = r"(?:[A-Z][A-Za-z ]* )?[Ff]ile ['\"]{files}([^'\"]+)['\"]"
"""How DuckDB begins what it says about a file that it cannot read."""
_GONE: Final = re.compile(r"HTTP GET error reading '([^']+)'.*\(HTTP 404")
"""How it says that a bucket has no such object."""
_AWAY: Final = re.compile(
    r"Unable to connect to Postgres|server closed the connection|Could not connect to server|HTTP \w+ error"
    r"|terminating connection|no connection to the server"
    r"|Failed to execute query \W*(?:ROLLBACK|COMMIT|BEGIN)"
)
"""What it says where the server of the catalog, or of the files, does not answer."""
_BEHIND: Final = re.compile(
    r"(?:Attempting to fetch from [^\n]*\nError: (?!Invalid Input))?(?:[A-Z][A-Za-z]* Error: )*Failed to "
)
"""How it begins what it says of the catalog, in errors of any kind; others may quote rows or queries."""
_NOT_NOW: Final = re.compile(
    "|".join(re.escape(os.strerror(number)) for number in (EMFILE, ENFILE, ENOMEM, EACCES, EPERM))
)
"""How the system says that this process can read no file now, which says nothing about the file."""
_SHOWN: Final = 80
"""Characters of the line in which a mistake is."""


def may_pass(error: Exception) -> bool:
    """Whether a query that failed so is worth a second try.

    A file vanishes under a reader when small files were merged, and the newer snapshot has its rows; a server
    that was away may be back, and then connections to it are new ones.
    """
    if isinstance(error, (duckdb.IOException, OSError)):
        return True
    details = _details(str(error))
    return _is_away(str(details.get("exception_message", error)), details.get("exception_type"))


def query_error(error: Exception, sql: str, files: str = "", *, raises: bool = False) -> QueryError:
    """Say what `error` means for who wrote a query.

    Args:
        error: Raised while it was checked or run.
        sql: The query.
        files: The folder of the lake's files, with a slash; no message names it.
        raises: Whether the query calls `error`, so that it may have worded this itself.
    """
    details = _details(str(error))
    message = str(details.get("exception_message", error))
    # What `error` says is of the kind Invalid Input, whichever exception brings it while rows are read.
    if files and (not raises or details.get("exception_type") in {"IO", "Invalid"}):
        file = _damaged_file(error, message, files)
        if file is not None and _NOT_NOW.search(message):
            return QueryError(f"a file of the lake ({file}) cannot be read now: {_unplaced(message, files)}")
        if file is None and _is_away(message, details.get("exception_type")):
            return QueryError(
                "the lake does not answer, its catalog or its files; try again: `lapwing doctor` says more"
            )
        if file is not None or details.get("exception_type") == "Invalid":  # what broken headers end in
            which = f" ({file})" if file else ""
            return DamagedFileError(
                f"a file of the lake{which} is damaged or gone: {_unplaced(message, files)}. "
                "`lapwing doctor` says what can be done",
                file=file,
            )
    message = _unplaced(message, files)
    if isinstance(error, (duckdb.OutOfMemoryException, MemoryError)) or _OUT_OF_MEMORY.search(message):
        return QueryLimitError(
            "the query ran out of memory: read fewer rows or columns, aggregate earlier, "
            "or raise query.memory_bytes in the settings"
        )
    position = _position(details, sql)
    candidates = tuple(name for name in str(details.get("candidates", "")).split(",") if name)
    if isinstance(error, duckdb.PermissionException):
        kind: type[QueryError] = RefusedQueryError
    else:
        kind = NotSeenYetError if _NOT_SEEN.search(message) else QueryError
    label = f"{details['exception_type']} Error: " if "exception_type" in details else ""
    return kind(f"{label}{message}{_pointer(sql, position)}", position=position, candidates=candidates)


def _damaged_file(error: Exception, message: str, files: str) -> str | None:
    """The file that DuckDB says it cannot read; whatever else names one was put there by the query."""
    if not isinstance(error, (duckdb.InvalidInputException, duckdb.IOException, OSError)):
        return None
    named = re.match(_FILE.replace("{files}", re.escape(files)), message)
    if named is None and (gone := _GONE.match(message)):
        return _within(gone[1], files)
    return named[1] if named else None


def _is_away(message: str, kind: str | None) -> bool:
    """Whether DuckDB speaks of a server that does not answer, and not a row or a query of such words."""
    if not _AWAY.search(message):
        return False
    if kind == "IO" or (kind is None and message.startswith("IO Error: ")):
        return True
    told = _BEHIND.match(message)
    return told is not None and (kind != "Invalid Input" or message.startswith("Attempting"))


def _unplaced(message: str, files: str) -> str:
    """A message without the place of the lake's files, nor where a server has them."""
    message = message.replace(files, "")
    bucket, folder = _bucket_of(files)
    if not bucket:
        return message
    path = "|".join(re.escape(each) for each in dict.fromkeys((folder, quote(folder))))
    return re.sub(rf"https?://[^\s/'\"]+/(?:{re.escape(bucket)}/)?(?:{path})", "", message)


def _within(address: str, files: str) -> str:
    """The file of a folder in a bucket that DuckDB names by its own address or the server's."""
    bucket, folder = _bucket_of(files)
    path = unquote(urlsplit(address).path)
    for start in (f"/{bucket}/{folder}", f"/{folder}"):  # the bucket's name may be in that of the host
        if path.startswith(start):
            return path.removeprefix(start)
    return path


def _bucket_of(files: str) -> tuple[str, str]:
    """The bucket of the lake's files and the folder in it; nothing where they are in no bucket."""
    bucket, _, folder = files.partition("://")[2].partition("/")
    return bucket, folder


def _details(text: str) -> dict[str, Any]:
    """What DuckDB tells as JSON behind the kind of error, where it was told to."""
    start = text.find("{")
    try:
        found = json.loads(text[start:]) if start >= 0 else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "exception_message" in found else {}


def _position(details: dict[str, Any], sql: str) -> int | None:
    """The place of the mistake in characters; DuckDB counts bytes."""
    place = str(details.get("position", ""))
    return len(sql.encode()[: int(place)].decode(errors="ignore")) if place.isdigit() else None


def _pointer(sql: str, position: int | None) -> str:
    if position is None or position > len(sql):
        return ""
    line_number = sql.count("\n", 0, position) + 1
    start = sql.rfind("\n", 0, position) + 1
    line = sql[start:].partition("\n")[0]
    column = position - start
    cut = max(0, column - _SHOWN // 2)
    head = f"LINE {line_number}: " + ("..." if cut else "")
    return f"\n{head}{line[cut : cut + _SHOWN]}\n{' ' * (len(head) + column - cut)}^"
