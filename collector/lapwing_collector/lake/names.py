"""From model names to table names."""

import hashlib
from typing import Final

_LONGEST_BYTES: Final = 200
"""DuckLake names folders after tables; a file system takes 255 bytes."""


class TableNames:
    """Tells each model's table: the same whenever it is asked, and another for each model."""

    def __init__(self) -> None:
        """Begin with no model."""
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()  # lower-cased, since SQL does not tell cases apart
        self._newest: dict[str, int] = {}

    def keep(self, model: str, name: str) -> None:
        """Know a model that has a table."""
        self._names[model] = name
        self._taken.add(name.lower())

    def knows(self, model: str) -> bool:
        """Whether a model has a table."""
        return model in self._names

    def of(self, model: str) -> str:
        """The table for a model, which may be new.

        Args:
            model: Its name, 1 to 128 characters; case matters.

        Returns:
            The model's own name; `name~2` (`~3`, …) where another model has it but for case; a long name is
            cut and made unique by a hash.
        """
        if model not in self._names:
            self.keep(model, self._free(_short(model)))
        return self._names[model]

    def _free(self, name: str) -> str:
        number = self._newest.get(name.lower(), 0) + 1
        while (free := name if number == 1 else f"{name}~{number}").lower() in self._taken:
            number += 1
        self._newest[name.lower()] = number
        return free


def _short(model: str) -> str:
    if len(model.encode()) <= _LONGEST_BYTES:
        return model
    digest = hashlib.blake2b(model.encode(), digest_size=6).hexdigest()
    return model.encode()[: _LONGEST_BYTES - 16].decode(errors="ignore") + "~" + digest
