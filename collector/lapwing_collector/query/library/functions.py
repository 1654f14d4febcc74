"""Functions that SQL lacks, written in Python: the names by which metrics call them, and their types.

They get numbers or bounded lists, and are called by metrics alone. What takes long to import is imported when
a function is first called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import duckdb
from duckdb.func import FunctionNullHandling, PythonUDFType

from lapwing_collector.query.library import (
    counts,
    isotonic,
    levels,
    paired,
    quantiles,
    samples,
    texts,
    vectors,
)

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


_COUNTS: Final = "BIGINT[]"
_MOMENTS: Final = "STRUCT(sum DOUBLE, sum_squares DOUBLE, minimum DOUBLE, maximum DOUBLE)"
_TESTED: Final = "STRUCT(statistic DOUBLE, p_value DOUBLE, effect_size DOUBLE)"
_TOLD: Final = "STRUCT(statistic DOUBLE, p_value DOUBLE, effect_size DOUBLE, reason VARCHAR)"

_DRIFT: Final = (
    Function("lapwing_chi2", counts.chi2, (_COUNTS, _COUNTS), _TESTED, columns=True),
    Function("lapwing_g_test", counts.g_test, (_COUNTS, _COUNTS), _TESTED, columns=True),
    Function("lapwing_ks_counts", counts.kolmogorov_smirnov, (_COUNTS, _COUNTS), _TESTED, columns=True),
    Function(
        "lapwing_wasserstein_counts",
        counts.wasserstein,
        (_COUNTS, _COUNTS, "DOUBLE[]", _MOMENTS, _MOMENTS),
        "DOUBLE",
        columns=True,
    ),
    Function("lapwing_normal_p", counts.normal_p, ("DOUBLE",), "DOUBLE", columns=True),
    Function("lapwing_t_p", counts.t_p, ("DOUBLE", "DOUBLE"), "DOUBLE", columns=True),
    Function("lapwing_t_quantile", counts.t_quantile, ("DOUBLE", "DOUBLE"), "DOUBLE", columns=True),
    Function(
        "lapwing_two_samples", samples.two_samples, ("VARCHAR", "DOUBLE[]", "DOUBLE[]", "VARCHAR"), _TOLD
    ),
    Function("lapwing_two_counts", samples.two_counts, ("VARCHAR", _COUNTS, _COUNTS, "VARCHAR"), _TOLD),
)

_TEXTS: Final = "STRUCT(id VARCHAR, text VARCHAR)[]"
_APART: Final = (
    Function(
        "lapwing_embeddings",
        vectors.embeddings,
        ("VARCHAR", "DOUBLE[][]", "DOUBLE[][]", "BIGINT"),
        "STRUCT(statistic DOUBLE, threshold DOUBLE, p_value DOUBLE, reason VARCHAR)",
        columns=True,
    ),
    Function("lapwing_texts", texts.texts, (_TEXTS, _TEXTS), texts.TYPE, columns=True),
)

_PAIRED: Final = (
    Function(
        "lapwing_paired_classes",
        paired.classes,
        (
            "VARCHAR",
            "STRUCT(truth VARCHAR, one VARCHAR, other VARCHAR, w DOUBLE, n BIGINT)[]",
            "VARCHAR",
            "DOUBLE",
            "BIGINT",
        ),
        paired.TYPE,
        columns=True,
    ),
    Function(
        "lapwing_paired_numbers",
        paired.numbers,
        ("VARCHAR", "STRUCT(truth DOUBLE, one DOUBLE, other DOUBLE, w DOUBLE)[]", "DOUBLE", "BIGINT"),
        paired.TYPE,
        columns=True,
    ),
)

FUNCTIONS: Final[tuple[Function, ...]] = (
    Function("lapwing_levels", levels.levels, ("DOUBLE[]",) * 3, levels.TYPE, columns=True),
    Function("lapwing_isotonic", isotonic.isotonic, ("DOUBLE[]",) * 3, isotonic.TYPE, columns=True),
    Function("lapwing_quantiles", quantiles.quantiles, ("DOUBLE[]",) * 3, "DOUBLE[]", columns=True),
    Function(
        "lapwing_bin_quantiles",
        quantiles.bin_quantiles,
        (f"{_COUNTS}[]", "DOUBLE[]", "DOUBLE[]"),
        "DOUBLE[]",
        columns=True,
    ),
    Function(
        "lapwing_bin_medians",
        quantiles.bin_medians,
        (f"{_COUNTS}[]", "DOUBLE[]", "DOUBLE", "DOUBLE"),
        "DOUBLE",
        columns=True,
    ),
    *_DRIFT,
    *_APART,
    *_PAIRED,
)


def register(connection: duckdb.DuckDBPyConnection, function: Function) -> None:
    """Let SQL on `connection`, and on others to the same database, call a function."""
    kind: dict[str, Any] = {}
    if function.columns:
        kind = {"type": PythonUDFType.ARROW, "null_handling": FunctionNullHandling.SPECIAL}
    try:
        connection.create_function(function.name, function.call, list(function.takes), function.gives, **kind)
    except duckdb.CatalogException as error:
        if "already exists" not in str(error):  # as it does where another connection was first
            raise
