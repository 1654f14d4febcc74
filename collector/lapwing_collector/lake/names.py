"""From model names to table names."""

import hashlib
from collections.abc import Container
from typing import Final

_LONGEST_BYTES: Final = 200
"""DuckLake names folders after tables; a file system takes 255 bytes."""


def table_name(model: str, taken: Container[str]) -> str:
    """The table for a model seen for the first time.

    Args:
        model: Its name, 1 to 128 characters; case matters.
        taken: Names of tables there are, lower-cased, since SQL does not tell cases apart.

    Returns:
        The model's own name; `name~2` (`~3`, …) where another model has it but for case; a long name is cut
        and made unique by a hash.
    """
    name = model
    if len(model.encode()) > _LONGEST_BYTES:
        digest = hashlib.blake2b(model.encode(), digest_size=6).hexdigest()
        name = model.encode()[: _LONGEST_BYTES - 16].decode(errors="ignore") + "~" + digest
    candidate, number = name, 1
    while candidate.lower() in taken:
        number += 1
        candidate = f"{name}~{number}"
    return candidate
