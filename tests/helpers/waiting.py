"""Waiting for what another thread or process does."""

import threading
import time
from collections.abc import Callable

_SHORTEST_S = 0.01
_LONGEST_S = 1.0
_SHARE = 3
"""How many times as long as a look takes is waited for the next."""


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something holds, and fail if it does not in time.

    Between two looks passes a multiple of what one took: those who are waited for need the processor, too.
    """
    pause = threading.Event()
    looks = time.monotonic()
    deadline = looks + seconds
    while not condition():
        looked = time.monotonic()
        assert looked < deadline, "it did not come to be in time"
        pause.wait(min(max(_SHORTEST_S, _SHARE * (looked - looks)), _LONGEST_S))
        looks = time.monotonic()
