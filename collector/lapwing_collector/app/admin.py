"""Commands that change something: references, and the slots of a replay."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from lapwing_collector.app.directory import DataDirectory
from lapwing_collector.app.ownership import Ownership
from lapwing_collector.app.project import settings_for
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.errors import ConfigError, DataDirectoryError
from lapwing_collector.lake import Lake
from lapwing_collector.metrics import reference_bins
from lapwing_collector.state import Store


def advance_rules(file: Path | None, flags: Mapping[str, Any], to: str) -> datetime:
    """Let rules close their slots up to `to`, an ISO time, UTC unless it says otherwise.

    Raises:
        ConfigError: `to` is no time, or time is not what the data says.
        DataDirectoryError: There is no such data directory.
    """
    settings = settings_for(file, flags)
    if settings.clock != "data":
        raise ConfigError("rules advance is for replays: the settings must say `clock: data` (see --config)")
    directory = DataDirectory(settings.data)
    if not directory.state.exists():
        raise DataDirectoryError(f"{directory.root}: no collector has run here yet")
    try:
        moment = datetime.fromisoformat(to)
    except ValueError as error:
        raise ConfigError(f"--to: expected a time such as 2026-01-31T12:00, not {to!r}") from error
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    store = Store.open(directory.state)
    try:
        store.advance_to(moment)
    finally:
        store.close()
    return moment


def set_reference(file: Path | None, flags: Mapping[str, Any], model: str, name: str, source: Path) -> int:
    """Freeze the distributions of `source` as a reference of `model`; the number of fields is returned.

    Columns named `inputs.x` or `output.x` are taken so; others are inputs.

    Raises:
        ConfigError: `source` cannot be read.
        DataDirectoryError: Another process owns the data directory.
    """
    rows = _read_table(source)
    rows = rows.rename_columns(
        [n if n.startswith(("inputs.", "output.")) else f"inputs.{n}" for n in rows.column_names]
    )
    bins = reference_bins(rows)
    directory = DataDirectory(settings_for(file, flags).data)
    ownership = Ownership.take(directory.root)
    try:
        lake = Lake.open(directory.lake)
        try:
            created_at = utc_datetime(SystemClock().now_ns())
            lake.set_reference(
                model, name, source=str(source), sample_count=rows.num_rows, bins=bins, created_at=created_at
            )
        finally:
            lake.close()
    finally:
        ownership.release()
    return len(set(bins.column("field").to_pylist()))


def _read_table(source: Path) -> pa.Table:
    try:
        return pa.csv.read_csv(source) if source.suffix == ".csv" else pq.read_table(source)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(
            f"{source}: cannot be read as {'CSV' if source.suffix == '.csv' else 'Parquet'}: {error}"
        ) from error
