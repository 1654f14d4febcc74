"""Functions that SQL lacks, written in Python: the names by which metrics call them, and their types.

They get numbers or bounded lists, and are called by metrics alone. What takes long to import is imported when
a function is first called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import duckdb

PRIVATE: Final = "lapwing_"
"""How the names of functions and macros begin that queries cannot call."""


@dataclass(frozen=True, slots=True)
class Function:
    """A scalar function.

    Attributes:
        name: Its name in SQL, which begins with `PRIVATE`.
        call: Takes the values of one row; a NULL among them makes the result NULL.
        takes: Types of what it takes.
        gives: Type of what it gives.
    """

    name: str
    call: Callable[..., Any]
    takes: tuple[str, ...]
    gives: str


FUNCTIONS: Final[tuple[Function, ...]] = ()


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Let SQL on `connection` call the functions."""
    for function in FUNCTIONS:
        connection.create_function(function.name, function.call, list(function.takes), function.gives)
