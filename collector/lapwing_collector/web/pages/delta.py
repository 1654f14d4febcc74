"""What differs: the fields of what is selected on the page Explore beside the rest; a part of that page."""

from collections.abc import Mapping
from typing import Any, Final

from lapwing_collector.web.pages.narrowing import told_in_full
from lapwing_collector.web.pages.page import Page, View

_WIDE: Final = 240
_TALL: Final = 36
_BY_CHANCE: Final = 1.5
"""How many times as far apart as two samples of the same rows is told to be no more than chance."""


def show(view: View) -> Mapping[str, Any]:
    """Each field with its bars, the most different first."""
    filters = told_in_full(view.asked).filters
    selects = bool(filters or view.asked.get("within"))
    found = view.panel_rows("explore/delta") if selects else []
    rows = [row if row["reason"] else _drawn(row) for row in found]
    looked_at = max((max(row["sampled"], row["reference_sampled"]) for row in rows), default=0)
    most = max((max(row["sample_count"], row["reference_count"]) for row in rows), default=0)
    return {
        "rows": rows,
        "looked_at": looked_at if looked_at < most else None,
        "selects": selects,
        "filtered": {each.field for each in filters},
        "panel": view.panel("explore/delta", **{k: v for k, v in view.asked.items() if k != "name"}),
    }


def _drawn(row: Mapping[str, Any]) -> dict[str, Any]:
    shares = list(zip(row["kinds"], row["labels"], row["shares"], row["reference_shares"], strict=True))
    most = max(max(now, was) for _, _, now, was in shares)
    each = _WIDE / len(shares)
    bins = [
        {
            "label": (label or "(empty)") if kind in {"value", "range"} else kind,
            "now": now,
            "was": was,
            "x": round(place * each, 2),
            "tall": round(_TALL * now / most, 2),
            "was_tall": round(_TALL * was / most, 2),
        }
        for place, (kind, label, now, was) in enumerate(shares)
    ]
    return {
        **row,
        "bins": bins,
        "width": round(each * 0.44, 2),
        "furthest": max(bins, key=lambda each: abs(each["now"] - each["was"])),
        "is_like": row["value"] is not None and row["value"] <= _BY_CHANCE * row["by_chance"],
    }


PAGE: Final = Page(path="/model/explore/delta", name="delta", title="What differs", show=show, of_model=True)
