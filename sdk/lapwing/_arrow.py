"""NumPy and pyarrow, imported here and nowhere else in the SDK: import what needs this module late."""

try:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"DataFrame calls need pyarrow: pip install 'lapwing[tables]' ({missing})", name=missing.name
    ) from missing

__all__ = ["np", "pa", "pc"]
