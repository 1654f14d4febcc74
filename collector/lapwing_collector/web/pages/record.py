"""One prediction with everything it has."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lapwing_collector.engine import identifier
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.description import dotted
from lapwing_collector.web.pages.narrowing import is_mark
from lapwing_collector.web.pages.page import Page, View
from lapwing_collector.web.span import moment_of

_PLAIN: Final = ("version", "environment", "service", "variant", "upstream", "error_type", "fallback")


def show(view: View) -> Mapping[str, Any]:
    """Everything about one prediction."""
    table = view.table()
    wanted, at = view.asked.get("id"), view.asked.get("at")
    if not wanted:
        raise DecodeError("say which prediction: ?id=ID")
    timed = "AND time = $at" if at else ""
    bound: dict[str, Any] = {"id": wanted} | ({"at": moment_of(at, "at")} if at else {})
    found = view.rows(
        f"SELECT * FROM predictions_all.{identifier(table)} WHERE prediction_id = $id {timed} LIMIT 20",
        **bound,
    )
    if not found:
        raise DecodeError(
            f"there is no prediction {wanted[:100]!r} of {view.model} any more, or not yet", 404
        )
    row = found[0]
    told = _labels_of(view, table, row)
    partners = _partners(view, table, row)
    return {
        "row": row,
        "others": len(found) - 1,
        "groups": list(_groups(row)),
        "labels": told,
        "partners": partners,
        "is_mark": is_mark,
        "plain": {name: row.get(name) for name in _PLAIN},
    }


def _labels_of(view: View, table: str, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every label of a prediction, the newest first."""
    if not view.models.has_labels(table):
        return []
    return view.rows(
        f"SELECT time, received_at, source, label FROM labels.{identifier(table)} "
        "WHERE prediction_id = $id OR (prediction_id IS NULL AND request_id = $request) "
        "ORDER BY time DESC LIMIT 50",
        id=row["prediction_id"],
        request=row["request_id"],
    )


def _partners(view: View, table: str, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Predictions of other stages or versions for the same request."""
    if not row["request_id"]:
        return []
    return view.rows(
        f"SELECT prediction_id, time, stage, version, output FROM predictions_all.{identifier(table)} "
        "WHERE request_id = $request AND time >= $time - INTERVAL 1 HOUR AND time <= $time + INTERVAL 1 HOUR "
        "AND prediction_id <> $id ORDER BY time LIMIT 20",
        request=row["request_id"],
        time=row["time"],
        id=row["prediction_id"],
    )


def _groups(row: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """What a prediction has, by what it is."""
    for title, name in (("Output", "output"), ("Inputs", "inputs"), ("Descriptors", "descriptors")):
        value = row.get(name)
        if isinstance(value, Mapping):
            yield title, list(_flat((), value))
    tags = [(key, value) for key, value in row.get("tags") or ()]
    if tags:
        yield "Tags", tags
    extra = row.get("extra")
    if extra:
        told = json.loads(extra)
        yield (
            "Values that did not fit their column",
            [(key, json.dumps(value)) for key, value in told.items()],
        )
    resource = [(key, value) for key, value in row.get("resource") or ()]
    if resource:
        yield "Sender", resource


def _flat(path: tuple[str, ...], value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat((*path, name), inner)
        else:
            yield dotted((*path, name)), inner


PAGE: Final = Page(path="/model/rows/record", name="record", title="Prediction", show=show, of_model=True)
