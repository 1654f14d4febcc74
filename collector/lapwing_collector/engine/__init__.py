"""Opens DuckDB with the extensions that come as wheels; nothing is downloaded, nothing loads by itself."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import duckdb

from lapwing_collector.engine.place import LAKE, METADATA, Place, place_of
from lapwing_collector.engine.quoting import identifier, literal
from lapwing_collector.errors import LapwingError

__all__ = [
    "LAKE",
    "METADATA",
    "ask_catalog",
    "attach",
    "attach_catalog",
    "connect",
    "identifier",
    "literal",
    "parser",
]

EXTENSIONS: Final = ("ducklake", "sqlite_scanner")
_EXTRA: Final = ("postgres_scanner", "httpfs")
"""Extensions that are installed with `lapwing[scale]`."""


def connect(
    place: Place | Path | None = None, *, threads: int | None = None, memory_limit: str | None = None
) -> duckdb.DuckDBPyConnection:
    """Open an empty in-memory DuckDB that can attach a DuckLake, in UTC and with no way to fetch code.

    Args:
        place: Where a lake is that is to be attached; one in a folder if None.
        threads: Worker threads; DuckDB's own choice if None.
        memory_limit: As DuckDB writes it, `512MB`; DuckDB's own choice if None.

    Raises:
        LapwingError: An extension wheel is missing.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "allow_persistent_secrets": False,
        # To check a signature takes 0.2 s of CPU time an extension, in every process. Who could exchange the
        # files could exchange DuckDB itself, too, and this module: all come from the same folder.
        "allow_unsigned_extensions": True,
        "temp_directory": "",
    }
    if threads is not None:
        settings["threads"] = threads
    if memory_limit is not None:
        settings["memory_limit"] = memory_limit
    connection = duckdb.connect(":memory:", config=settings)
    more = place_of(place).extensions if place is not None else ()
    for extension in dict.fromkeys((*EXTENSIONS, *more)):
        connection.execute(f"LOAD {literal(str(_extension_file(extension)))}")
    connection.execute("SET allow_unsigned_extensions = false")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET ducklake_default_data_inlining_row_limit = 0")
    return connection


def parser() -> duckdb.DuckDBPyConnection:
    """A connection to ask what SQL says, over no tables; what is set on it holds for it alone.

    All of a process lead to one engine: to make one takes 15 ms, more than most that it is asked.
    """
    return _parsing().cursor()


@cache
def _parsing() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:", config={"threads": 1})


def attach(
    connection: duckdb.DuckDBPyConnection,
    place: Place | Path,
    *,
    read_only: bool,
    name: str = LAKE,
    snapshot: int | None = None,
    use: bool = True,
) -> None:
    """Attach the DuckLake at a place and make it the default.

    Args:
        connection: What to attach it to; opened for such a place.
        place: Where it is.
        read_only: Whether nothing can be written.
        name: What it is called there.
        snapshot: The one to read whatever comes later; each query reads the newest if None.
        use: Whether it becomes the default, for which DuckLake reads what all tables are.

    Raises:
        duckdb.Error: There is no lake to read, or it cannot be opened.
    """
    for sql in place_of(place).attachment(read_only=read_only, name=name, snapshot=snapshot):
        connection.execute(sql)
    if use:
        connection.execute(f"USE {name}")


def attach_catalog(
    connection: duckdb.DuckDBPyConnection, place: Place, name: str, *, read_only: bool = True
) -> None:
    """Attach the database that the catalog of a lake is in, without the lake.

    Raises:
        duckdb.Error: There is none to read, or it cannot be opened.
    """
    for sql in (*place.secrets, place.catalog.attached(name, read_only=read_only)):
        connection.execute(sql)


def ask_catalog(place: Place, sql: str) -> list[tuple[Any, ...]]:
    """Have the database that the catalog of a lake is in run a SELECT, once.

    Raises:
        duckdb.Error: There is none to read, or it refuses.
    """
    with connect(place, threads=1) as connection:
        attach_catalog(connection, place, "catalog")
        return connection.execute(f"SELECT * FROM {place.catalog.asked('catalog', sql)}").fetchall()


def _extension_file(name: str) -> Path:
    spec = find_spec(f"duckdb_extension_{name}")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder) / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
        if file.exists():
            return file
    wheel = f"duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}"
    wanted = "lapwing[scale]" if name in _EXTRA else wheel
    raise LapwingError(f"the DuckDB extension {name} is not installed: pip install '{wanted}'")
