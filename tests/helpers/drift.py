"""Models whose profiles and references are counted here, plainly, as the lake's contract for them says."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from helpers.metrics import START, Measured, Rows
from lapwing_collector.engine import identifier
from lapwing_collector.model.description import parts
from lapwing_collector.model.profiles import (
    BINNING_ROWS,
    PROFILE_ROWS,
    REFERENCE_BIN_ROWS,
    REFERENCE_SET_ROWS,
)

Values = Sequence[Any] | np.ndarray[Any, Any]

TABLES = {
    "binnings": BINNING_ROWS,
    "profiles": PROFILE_ROWS,
    "reference_sets": REFERENCE_SET_ROWS,
    "reference_bins": REFERENCE_BIN_ROWS,
}


class Profiled(Measured):
    """Models with profiles and references beside their rows."""

    def __init__(self) -> None:
        """Begin without bins."""
        super().__init__()
        self._bins: dict[str, dict[str, Any]] = {}

    def forget(self) -> None:
        """Empty the tables of profiles and references, and let predictions have had `inputs.x` only."""
        for name in TABLES:
            self.connection.execute(f"DELETE FROM lake.main.{name}")
        self._bins = {}
        self.put("m", [{"inputs.x": 1.0}])

    def put(self, model: str, predictions: Rows, *more: Any, **options: Any) -> None:
        """Make a model's tables; its predictions have had every field that has bins."""
        super().put(model, predictions, *more, **options)
        for field in self._bins:
            self._send(field)

    def bins(self, field: str, values: Values, version: int = 1, most: int = 64) -> None:
        """Freeze the bins of a field by these values."""
        known = [value for value in values if value is not None and value == value]  # noqa: PLR0124  # no NaN
        edges: list[float] = []
        categories: list[str] = []
        if isinstance(known[0], str):
            categories = sorted(set(known))
        else:
            different = np.unique(np.asarray(known, np.float64))
            different = different[np.isfinite(different)]
            if len(different) <= most:
                edges = [*different, np.nextafter(different[-1], np.inf)]
            else:
                edges = list(np.unique(np.quantile(known, np.linspace(0, 1, most + 1))))
        row = {
            "binning_id": f"{field}-{version}",
            "table_name": "m",
            "field": field,
            "kind": "category" if categories else "number",
            "edges": edges,
            "categories": categories,
            "created_at": START + timedelta(days=version),
        }
        self._bins[field] = row
        self._add("binnings", [row])
        self._send(field)

    def _send(self, field: str) -> None:
        """Let predictions have had a field, whatever else they have."""
        root, *inside = parts(field)
        described = self.connection.execute("DESCRIBE predictions_all.m").fetchall()
        known = {column: kind for column, kind, *_ in described}
        name = identifier(inside[0] if inside else root)
        if root not in known:
            columns = f"*, {{{name}: NULL::VARCHAR}} AS {root}" if inside else f"*, NULL::VARCHAR AS {name}"
        elif inside and not re.search(rf'[(" ]{re.escape(inside[0])}[" ]', known[root]):
            columns = f"* REPLACE (struct_insert({root}, {name} := NULL::VARCHAR) AS {root})"
        else:
            return
        self.connection.execute(
            f"CREATE OR REPLACE TABLE predictions_all.m AS SELECT {columns} FROM predictions_all.m"
        )

    def count(self, values: Mapping[str, Values], hour: datetime = START, segment: str = "") -> None:
        """Count values of fields that have bins, as of an hour."""
        self.counts({hour: values}, segment)

    def counts(self, values: Mapping[datetime, Mapping[str, Values]], segment: str = "") -> None:
        """Count values of fields that have bins, hour by hour."""
        whose = {
            "table_name": "m",
            "version": "1",
            "stage": "production",
            "segment": segment,
            "grain": "hour",
        }
        rows = [
            whose | {"time": hour} | self._counted(field, each)
            for hour, fields in values.items()
            for field, each in fields.items()
        ]
        self._add("profiles", rows)

    def keep(self, values: Mapping[str, Values], reference: str = "train", version: int = 1) -> None:
        """Keep a reference with these values."""
        whose = {"table_name": "m", "reference": reference, "version": version}
        rows = [
            whose | self._counted(field, each) | {"distinct_count": len({v for v in each if v is not None})}
            for field, each in values.items()
        ]
        self._add("reference_bins", rows)
        self._add(
            "reference_sets", [whose | {"role": "drift", "created_at": START + timedelta(days=version)}]
        )

    def choose(self, reference: str, kind: str, span: timedelta) -> None:
        """Declare a reference that is a policy."""
        policy = f'{{"kind": "{kind}", "seconds": {round(span.total_seconds())}}}'
        row = {"table_name": "m", "reference": reference, "version": 1, "role": "drift", "created_at": START}
        self._add("reference_sets", [row | {"policy": policy}])

    def _counted(self, field: str, values: Values) -> dict[str, Any]:
        bins = self._bins[field]
        who = {"field": field, "binning_id": bins["binning_id"]}
        if bins["kind"] == "category":
            places = [
                0
                if value is None
                else bins["categories"].index(value) + 2
                if value in bins["categories"]
                else 1
                for value in values
            ]
            return who | {"counts": np.bincount(places, minlength=len(bins["categories"]) + 2).tolist()}
        numbers = np.array([np.nan if value is None else value for value in values], np.float64)
        finite = numbers[np.isfinite(numbers)]
        edges = np.array(bins["edges"])
        places = np.searchsorted(edges, finite, side="right") - (finite == edges[-1])
        counts = [
            int(np.isnan(numbers).sum()),
            int(np.isinf(numbers).sum()),
            *np.bincount(places, minlength=len(edges) + 1).tolist(),
        ]
        told = {"counts": counts, "sum": float(finite.sum()), "sum_squares": float((finite**2).sum())}
        if len(finite):
            told |= {"minimum": float(finite.min()), "maximum": float(finite.max())}
        return who | told

    def _add(self, table: str, rows: list[dict[str, Any]]) -> None:
        self.connection.register("added", pa.Table.from_pylist(rows, TABLES[table]))
        self.connection.execute(f"INSERT INTO lake.main.{table} SELECT * FROM added")
