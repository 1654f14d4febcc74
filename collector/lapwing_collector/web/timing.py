"""Where the time of a request went, told in its answer: browsers show it beside the request."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timing:
    """Adds up what parts of one request took. Not for several threads at once."""

    def __init__(self) -> None:
        """Nothing took any time yet."""
        self._took_s: dict[str, float] = {}
        self._times: dict[str, int] = {}

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Count what happens inside as time of `part`, a word."""
        began_s = time.perf_counter()
        try:
            yield
        finally:
            self._took_s[part] = self._took_s.get(part, 0.0) + time.perf_counter() - began_s
            self._times[part] = self._times.get(part, 0) + 1

    @property
    def header(self) -> str:
        """The value of a header Server-Timing: of each part how long it took, and how often there was one."""
        return ", ".join(
            f'{part};dur={took_s * 1000:.1f};desc="{self._times[part]}"'
            for part, took_s in self._took_s.items()
        )
