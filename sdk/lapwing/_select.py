"""Which inputs and outputs are recorded, and under which names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_INPUTS: Final = "inputs."
_OUTPUT: Final = "output."


@dataclass(frozen=True, slots=True)
class Selection:
    """A choice among the names of one map.

    Attributes:
        include: The names to keep; None keeps all.
        exclude: The names to leave out.
        rename: New names by old ones; applied to what is kept.
    """

    include: frozenset[str] | None = None
    exclude: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)

    def names(self, names: Iterable[str]) -> dict[str, str]:
        """Give the names that are kept, each with its new name."""
        return {
            name: self.rename.get(name, name)
            for name in names
            if name not in self.exclude and (self.include is None or name in self.include)
        }

    def apply(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the chosen entries of a map, renamed."""
        return {new: values[name] for name, new in self.names(values).items()}


ALL: Final = Selection()


def selections(
    include: Iterable[str] | None, exclude: Iterable[str] | None, rename: Mapping[str, str] | None
) -> tuple[Selection, Selection]:
    """Read what a user chose, for the inputs and for the output.

    Names are those of the columns: `output.score` is of the output; `inputs.age`, or just `age`, an input.
    Inputs are all kept unless `include` names one of them; the output likewise.

    Raises:
        TypeError: A text stands where a list of names is meant.
        ValueError: A name is empty, or two would be the same afterwards.
    """
    for option, names in (("include", include), ("exclude", exclude)):
        if isinstance(names, str):
            raise TypeError(f"{option} is a list of names, such as [{names!r}], not a text")
    kept, left_out = _split(include or ()), _split(exclude or ())
    renamed: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for old, new in (rename or {}).items():
        side, name = _side(old)
        renamed[side][name] = _side(new)[1] if new.startswith((_INPUTS, _OUTPUT)[side]) else new
    for names in renamed:
        if len(set(names.values())) < len(names):
            raise ValueError(f"rename gives one name to two fields: {dict(names)}")
    inputs, output = (
        Selection(frozenset(kept[side]) or None, frozenset(left_out[side]), renamed[side]) for side in (0, 1)
    )
    return (ALL if inputs == ALL else inputs), (ALL if output == ALL else output)


def _split(names: Iterable[str]) -> tuple[list[str], list[str]]:
    sides: tuple[list[str], list[str]] = ([], [])
    for name in names:
        side, short = _side(name)
        sides[side].append(short)
    return sides


def _side(name: str) -> tuple[int, str]:
    """Tell whether a name is of the inputs (0) or the output (1), and what it is there."""
    if not isinstance(name, str) or not name.removeprefix(_INPUTS).removeprefix(_OUTPUT):
        raise ValueError(f"a field's name is text such as 'age' or 'output.score', not {name!r}")
    if name.startswith(_OUTPUT):
        return 1, name.removeprefix(_OUTPUT)
    return 0, name.removeprefix(_INPUTS)
