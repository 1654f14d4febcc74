"""Runs of the gate that are kept: put into the lake by its owner, listed and shown again."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from lapwing_collector.app.answers.models import RowsOf, jsonable
from lapwing_collector.clock import read_utc
from lapwing_collector.errors import ConfigError, NotSeenYetError, UnknownEvaluationError
from lapwing_collector.model.evaluations import EVALUATION_ROWS

_LIST: Final = """
SELECT * EXCLUDE (document) FROM evaluations
WHERE $model IS NULL OR model = $model
ORDER BY started_at DESC, evaluation_id
LIMIT $limit
"""
_ONE: Final = "SELECT document::VARCHAR AS document FROM evaluations WHERE evaluation_id = $id LIMIT 1"

MOST: Final = 1000
"""Runs that are listed at once."""


def rows_of_document(document: Mapping[str, Any]) -> pa.Table:
    """A run, as `lapwing evaluate --json` writes it, as a row of `evaluations`.

    Raises:
        ConfigError: It is no such document.
    """
    sides = {}
    try:
        for side in document["sides"]:
            sides[str(side["name"])] = side
        candidate = sides["candidate"]
        row = {
            "evaluation_id": str(document["id"]),
            "model": str(document["model"]),
            "version": document["version"],
            "passed": document["verdict"] == "passed",
            "started_at": _time(document["started_at"]),
            "seconds": float(document["seconds"]),
            "evaluated_by": str(document["by"]),
            "rules": [str(each) for each in document["rules"]],
            "data": str(candidate["source"]),
            "reference": sides.get("reference", {}).get("source"),
            "against": sides.get("production", {}).get("source"),
            "window_start": _time(candidate["since"]),
            "window_end": _time(candidate["until"]),
            "sample_count": candidate["rows"],
            "label_count": candidate["labels"],
            "document": json.dumps(document, ensure_ascii=False),
        }
        plain = pa.schema(
            [(each.name, pa.string() if each.name == "document" else each.type) for each in EVALUATION_ROWS]
        )
        return pa.Table.from_pylist([row], plain).cast(EVALUATION_ROWS)
    except (KeyError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
        raise ConfigError(
            f"keep-evaluation: expected what `lapwing evaluate --json` writes: {error!r}"
        ) from error


def list_evaluations(rows_of: RowsOf, model: str | None = None, limit: int = MOST) -> list[dict[str, Any]]:
    """The runs that are kept, the newest first, without their documents.

    Raises:
        LapwingError: The lake cannot be asked.
    """
    try:
        return jsonable(rows_of(_LIST, model=model, limit=limit))
    except NotSeenYetError:  # the lake is older than the gate
        return []


def evaluation_document(rows_of: RowsOf, evaluation_id: str) -> dict[str, Any]:
    """A run that is kept, as `lapwing evaluate --json` wrote it.

    Raises:
        UnknownEvaluationError: There is none of this id.
        LapwingError: The lake cannot be asked.
    """
    try:
        found = rows_of(_ONE, id=evaluation_id).column("document").to_pylist()
    except NotSeenYetError:
        found = []
    if not found:
        raise UnknownEvaluationError(
            f"there is no evaluation {evaluation_id!r}; `lapwing evaluations` lists those there are"
        )
    document: dict[str, Any] = json.loads(found[0])
    return document


def _time(text: str | None) -> datetime | None:
    return None if text is None else read_utc(text)
