"""Works on the catalog as a SQLite file: copies it while it is written, checks it, wipes what was deleted.

In a process of its own each time, since a second SQLite library in a process that has DuckDB would drop the
locks of the first.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from lapwing_collector.folders import sync_folder
from lapwing_collector.lake.parquet import sync_file

_SCRIPT: Final = """
import json, signal, sqlite3, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
task, file, *rest = sys.argv[1:]
def connect(path, mode):
    connection = sqlite3.connect("file:" + path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
                                 + "?mode=" + mode, uri=True, timeout=30, isolation_level=None)
    return connection
try:
    if task == "copy":
        source, target = connect(file, "ro"), connect(rest[0], "rwc")
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")
        target.close()
        answer = True
    elif task == "check":
        connection = connect(file, "ro")
        answer = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
    else:
        connection = connect(file, "rw")
        connection.execute("VACUUM")
        answer = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    print(json.dumps({"answer": answer}))
except sqlite3.Error as error:
    print(json.dumps({"error": str(error)}))
"""


class CatalogFileError(Exception):
    """SQLite refuses; the message is its own."""


def copy_catalog(catalog: Path, target: Path) -> None:
    """Copy the catalog file as it is at one moment, durably; nobody who reads or writes it has to wait.

    A crash leaves the old `target` or the new one.

    Raises:
        CatalogFileError: SQLite cannot read it.
        OSError: The disk is full, or refuses.
    """
    unfinished = target.with_name(target.name + ".tmp")
    unfinished.unlink(missing_ok=True)
    try:
        _run("copy", catalog, unfinished)
        sync_file(unfinished)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def check_catalog(catalog: Path) -> list[str]:
    """What SQLite finds wrong with the catalog file; empty where it is whole."""
    try:
        found = _run("check", catalog)
    except CatalogFileError as error:
        return [str(error)]
    return [] if found == ["ok"] else list(found)


def vacuum_catalog(catalog: Path) -> bool:
    """Write the catalog file anew, without what was deleted from it, and empty its write-ahead log.

    Keep everybody else from writing meanwhile.

    Returns:
        Whether the write-ahead log could be emptied: not while somebody reads an older state.

    Raises:
        CatalogFileError: SQLite refuses; the disk may be full.
    """
    return bool(_run("vacuum", catalog))


def _run(task: str, *files: Path) -> Any:
    done = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, "-I", "-c", _SCRIPT, task, *map(str, files)],
        stdout=subprocess.PIPE,
        check=True,
    )
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise CatalogFileError(answer["error"])
    return answer["answer"]
