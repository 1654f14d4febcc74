"""What is left out of a process: packages that others import wherever they are installed."""

import sys
from importlib.machinery import ModuleSpec


class _NoPandas:
    """Tells who looks for pandas that there is none."""

    @staticmethod
    def find_spec(name: str, *_: object) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def leave_out_pandas() -> None:
    """Keep pandas out of this process, whatever is imported later.

    Arrow and DuckDB import it for conversions that nobody asks for here: 60 MB and a third of the start.
    """
    sys.meta_path.insert(0, _NoPandas())
