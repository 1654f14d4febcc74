"""Makes rules of what a reference says."""

from collections.abc import Sequence
from typing import Any, Final

from lapwing_collector.app.answers.models import RowsOf
from lapwing_collector.config import parse_duration
from lapwing_collector.engine import identifier
from lapwing_collector.errors import ConfigError, NotSeenYetError
from lapwing_collector.metrics.columns import flattened
from lapwing_collector.model.profiles import FIRST_CATEGORY, NULL, OTHER, BinKind
from lapwing_collector.rules import ReferenceField, rules_from

_SETS: Final = """
SELECT table_name, version, policy IS NOT NULL AS moves
FROM reference_sets
WHERE model = $model AND reference = $reference
ORDER BY version DESC
LIMIT 1
"""

_FIELDS: Final = """
SELECT
    r.field, r.counts, r.sum, r.sum_squares, r.minimum, r.maximum, r.quantiles, b.kind, b.categories
FROM reference_bins AS r
JOIN binnings AS b ON b.binning_id = r.binning_id
WHERE r.model = $model AND r.reference = $reference AND r.version = $version
ORDER BY r.field
"""


def generate_rules(rows_of: RowsOf, model: str, reference: str, *, interval: str, window: str) -> str:
    """A rule file that holds a model to the newest version of a reference.

    Args:
        rows_of: Asks the lake.
        model: The model.
        reference: Name of a reference that has counts of its own.
        interval: How often its rules look, `1h`.
        window: How far back, `1d`.

    Raises:
        ConfigError: There is no such reference, it is a policy, or one of the two is no duration.
        LapwingError: The lake cannot be asked.
    """
    for option, said in (("--interval", interval), ("--window", window)):
        try:
            parse_duration(said)
        except ValueError as error:
            raise ConfigError(f"{option}: expected {error}") from error
    found = rows_of(_SETS, model=model, reference=reference).to_pylist()
    if not found:
        raise ConfigError(
            f"{model} has no reference {reference!r}; `lapwing reference list` shows those there are"
        )
    if found[0]["moves"]:
        raise ConfigError(
            f"{reference!r} of {model} is other rows each time; rules need a reference of a file or a window"
        )
    fields = rows_of(_FIELDS, model=model, reference=reference, version=found[0]["version"]).to_pylist()
    table = found[0]["table_name"]
    absent = _absent(rows_of, table, [row["field"] for row in fields])
    return rules_from(model, table, reference, map(_field, fields), interval, window, absent)


def _absent(rows_of: RowsOf, table: str, fields: Sequence[str]) -> list[str]:
    """Fields that no prediction has brought, such as an id or a target in a training file."""
    try:
        sent = flattened(rows_of(f"SELECT * FROM predictions_all.{identifier(table)} LIMIT 0"))
    except NotSeenYetError:
        return []  # the reference came before the first prediction
    # What is measured of a text or an embedding is called as a part of it.
    return [
        name for name in fields if not any(name == column or name.startswith(f"{column}.") for column in sent)
    ]


def _field(row: dict[str, Any]) -> ReferenceField:
    counts = row["counts"]
    rows, missing = sum(counts), counts[NULL]
    if row["kind"] == BinKind.CATEGORY:
        seen = [text for text, n in zip(row["categories"], counts[FIRST_CATEGORY:], strict=True) if n]
        return ReferenceField(row["field"], rows, missing, categories=None if counts[OTHER] else seen)
    return ReferenceField(
        row["field"],
        rows,
        missing,
        numbers=rows - missing - counts[OTHER],
        total=row["sum"] or 0.0,
        squares=row["sum_squares"] or 0.0,
        least=row["minimum"],
        most=row["maximum"],
        quantiles=row["quantiles"],
    )
