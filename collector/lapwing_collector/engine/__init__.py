"""Opens DuckDB with the extensions that come as wheels; nothing is downloaded, nothing loads by itself."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import duckdb

from lapwing_collector.errors import LapwingError

EXTENSIONS: Final = ("ducklake", "sqlite_scanner")

LAKE: Final = "lake"
"""Name under which every connection attaches the lake."""


def connect(*, threads: int | None = None, memory_limit: str | None = None) -> duckdb.DuckDBPyConnection:
    """Open an empty in-memory DuckDB that can attach a DuckLake, in UTC and with no way to fetch code.

    Args:
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
    for extension in EXTENSIONS:
        connection.execute(f"LOAD {literal(str(_extension_file(extension)))}")
    connection.execute("SET allow_unsigned_extensions = false")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET ducklake_default_data_inlining_row_limit = 0")
    return connection


def attach(
    connection: duckdb.DuckDBPyConnection,
    lake: Path,
    *,
    read_only: bool,
    name: str = LAKE,
    snapshot: int | None = None,
    use: bool = True,
) -> None:
    """Attach the DuckLake in folder `lake` (an absolute path) and make it the default.

    Args:
        connection: What to attach it to.
        lake: Its folder.
        read_only: Whether nothing can be written.
        name: What it is called there.
        snapshot: The one to read whatever comes later; each query reads the newest if None.
        use: Whether it becomes the default, for which DuckLake reads what all tables are.

    Raises:
        duckdb.Error: There is no lake to read, or it cannot be opened.
    """
    # Even with the limit of the session at 0, DuckLake would make an empty table for the inlined rows of each
    # shape of each table, and look into all of them with each query; with that of the catalog it makes none.
    catalog = literal(f"ducklake:sqlite:{lake / 'catalog.sqlite'}")
    access = (
        "READ_ONLY"
        if read_only
        else ("META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT 5000, DATA_INLINING_ROW_LIMIT 0")
    )
    if snapshot is not None:
        access += f", SNAPSHOT_VERSION {snapshot}"
    data_path = literal(str(data_folder(lake)) + "/")
    # The catalog remembers where the lake was made; overriding lets people move and copy the folder.
    connection.execute(
        f"ATTACH {catalog} AS {name} ({access}, DATA_PATH {data_path}, OVERRIDE_DATA_PATH true)"
    )
    if use:
        connection.execute(f"USE {name}")


def data_folder(lake: Path) -> Path:
    """Where the Parquet files of the lake in folder `lake` are."""
    return lake / "data"


def identifier(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text for SQL."""
    return "'" + text.replace("'", "''") + "'"


def _extension_file(name: str) -> Path:
    spec = find_spec(f"duckdb_extension_{name}")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder) / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
        if file.exists():
            return file
    wheel = f"duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}"
    raise LapwingError(f"the DuckDB extension {name} is not installed: pip install '{wheel}'")
