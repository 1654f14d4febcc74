"""Values that people gave, with what they call them."""

from typing import Any, NamedTuple


class Given(NamedTuple):
    """A setting that was given.

    Attributes:
        value: What was given; None where nothing was.
        name: What who gave it calls it, as `--http`.
    """

    value: Any
    name: str
