"""The steps that bring a lake of an older format up to date."""

from collections.abc import Callable, Sequence
from typing import Final

from lapwing_collector.engine import METADATA
from lapwing_collector.engine.format import FORMAT_KEY, recorded_format, refuse_newer
from lapwing_collector.lake.catalog import Catalog

Step = Callable[[Catalog], None]


def _set_old_references_aside(catalog: Catalog) -> None:
    """References of lakes before profiles had bins of their own, and so cannot be compared with them."""
    if catalog.table_folder("main", "reference_bins") is None:
        return
    if "bin" in catalog.schema("reference_bins").names:
        catalog.redefine(
            [f"ALTER TABLE {name} RENAME TO {name}_0_1" for name in ("reference_sets", "reference_bins")]
        )


def _count_erased_references(catalog: Catalog) -> None:
    """Let proofs of lakes from before references kept rows have a column for them."""
    if catalog.table_folder("main", "erasures") is None:
        return
    if "reference_rows" not in catalog.schema("erasures").names:
        catalog.redefine(["ALTER TABLE erasures ADD COLUMN reference_rows BIGINT"])


STEPS: Final[tuple[Step, ...]] = (_set_old_references_aside, _count_erased_references)
"""What lifts a lake from format 1 to 2, 2 to 3, and so on; a step that was released never changes.

Each looks by itself what is left to do: after a crash it comes again. Lakes of before there were numbers
count as 1, whatever they have.
"""


def format_of(catalog: Catalog) -> int | None:
    """The format of a lake; None for one of before there were numbers.

    Raises:
        DataDirectoryError: It was written by a newer version.
    """
    found = recorded_format(catalog.rows, METADATA)
    refuse_newer(found, catalog.place)
    return found


def lift(catalog: Catalog, steps: Sequence[Step] = STEPS) -> None:
    """Bring a lake up to date, and write down that it is.

    Args:
        catalog: Its catalog, for its owner.
        steps: One for each format after the first.

    Raises:
        DataDirectoryError: It was written by a newer version.
        duckdb.Error: The catalog refuses.
    """
    found = format_of(catalog)
    newest = 1 + len(steps)
    if found == newest:
        return
    for step in steps[(found or 1) - 1 :]:
        step(catalog)
    with catalog.transaction():
        catalog.rows(f"DELETE FROM {METADATA}.ducklake_metadata WHERE key = '{FORMAT_KEY}'")
        catalog.rows(
            f"INSERT INTO {METADATA}.ducklake_metadata (key, value) VALUES ('{FORMAT_KEY}', '{newest}')"
        )
