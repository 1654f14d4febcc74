"""Functions that SQL lacks, written in Python: the names by which metrics call them, and their types.

They get numbers or bounded lists, and are called by metrics alone. What takes long to import is imported when
a function is first called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import duckdb
from duckdb.func import FunctionNullHandling, PythonUDFType

from lapwing_collector.query.library import levels, quantiles

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
        columns: Whether `call` takes and gives Arrow arrays of many rows instead, NULLs among them.
    """

    name: str
    call: Callable[..., Any]
    takes: tuple[str, ...]
    gives: str
    columns: bool = False


FUNCTIONS: Final[tuple[Function, ...]] = (
    Function("lapwing_levels", levels.levels, ("DOUBLE[]",) * 3, levels.TYPE, columns=True),
    Function("lapwing_quantiles", quantiles.quantiles, ("DOUBLE[]",) * 3, "DOUBLE[]", columns=True),
)


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Let SQL on `connection` call the functions."""
    for function in FUNCTIONS:
        if function.columns:
            connection.create_function(
                function.name,
                function.call,
                list(function.takes),
                function.gives,
                type=PythonUDFType.ARROW,
                null_handling=FunctionNullHandling.SPECIAL,
            )
        else:
            connection.create_function(function.name, function.call, list(function.takes), function.gives)
