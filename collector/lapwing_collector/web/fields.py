"""How fields are named in addresses, and written in SQL."""

from typing import Final

from lapwing_collector.engine import identifier, literal
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.description import parts

_MAPS: Final = frozenset({"tags", "resource"})


def expression_of(field: str, row: str = "") -> str:
    """The SQL of a field's value: `inputs.age` as `"inputs"."age"`, `tags.region` as `"tags"['region']`.

    Args:
        field: Its dotted name.
        row: What the table of its rows is called, where that has to be said.

    Raises:
        DecodeError: It is no name of a field.
    """
    try:
        first, *inner = parts(field)
    except ValueError as error:
        raise DecodeError(f"expected {error}") from None
    start = [row] if row else []
    if first in _MAPS and inner:
        return ".".join([*start, identifier(first)]) + f"[{literal('.'.join(inner))}]"
    return ".".join([*start, *map(identifier, (first, *inner))])
