"""How much memory this process takes while something is done."""

import ctypes
from pathlib import Path
from typing import Self

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class PeakMemory:
    """Measures by how much the resident memory of the process rises above where it was, at the most."""

    grown_bytes: int = 0

    def __enter__(self) -> Self:
        """Forget the peak so far, and give back what was let go of before: it would be taken again unseen."""
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR_REFS.write_text("5", encoding="ascii")
        self._before = _read("VmRSS")
        return self

    def __exit__(self, *error: object) -> None:
        """Read the peak since."""
        self.grown_bytes = _read("VmHWM") - self._before


def _read(name: str) -> int:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024
