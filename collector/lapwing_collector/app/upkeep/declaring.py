"""References that files declare: the lake has each, and no other that a file declared before."""

import json
from collections.abc import Mapping
from typing import Final

from lapwing_collector.app.places.owner_socket import Order
from lapwing_collector.app.upkeep.maintenance import tell_nobody
from lapwing_collector.lake import Lake
from lapwing_collector.model.description import ModelDescription

SOURCE: Final = "models file"
"""Tells references of files from those that somebody set by a command."""

_NEWEST: Final = """
SELECT model, reference, role, source, policy::VARCHAR FROM reference_sets
QUALIFY row_number() OVER (PARTITION BY model, reference ORDER BY version DESC) = 1
"""


def declare_references(
    lake: Lake, orders: Mapping[str, Order], files: Mapping[str, ModelDescription]
) -> None:
    """Set the references that files declare and that the lake has not; remove those declared no longer.

    Args:
        lake: Which has some already.
        orders: What the owner does for commands, by name.
        files: What files say, by model.

    Raises:
        LapwingError: It cannot be done now.
    """
    declared = {
        (model, name): policy
        for model, described in files.items()
        for name, policy in described.references.items()
    }
    there = {(model, name): found for model, name, *found in lake.catalog.rows(_NEWEST)}
    for (model, name), policy in declared.items():
        role, rows = policy["role"], {"kind": policy["kind"], "seconds": policy["seconds"]}
        known_role, _, known = there.get((model, name), (None, None, None))
        if (known_role, None if known is None else json.loads(known)) != (role, rows):
            wanted = {"model": model, "name": name, "role": role, "source": SOURCE, "policy": rows}
            orders["set-reference"](wanted, tell_nobody)
    for (model, name), (_, source, _) in there.items():
        if source == SOURCE and (model, name) not in declared:
            orders["remove-reference"]({"model": model, "name": name, "version": None}, tell_nobody)
