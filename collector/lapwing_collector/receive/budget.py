"""What requests in hand hold together; who finds nothing left waits in line."""

import asyncio
from collections import deque

from lapwing_collector.errors import UnavailableError

_Turn = tuple[int, asyncio.Future[None], float]
"""How many are waited for, what is done once they are given, and since when."""


class Line:
    """So many of something, shared by all requests of one event loop, given out in the order of asking."""

    def __init__(self, total: int) -> None:
        """Start with all of `total` free."""
        self._free = total
        self._line: deque[_Turn] = deque()

    async def take(self, count: int, within_s: float) -> None:
        """Take `count`.

        Raises:
            UnavailableError: They did not become free within `within_s` seconds.
        """
        if count <= self._free and not self._line:
            self._free -= count
            return
        loop = asyncio.get_running_loop()
        turn = (count, loop.create_future(), loop.time())
        self._line.append(turn)
        is_mine = False
        try:
            await asyncio.wait([turn[1]], timeout=within_s)
            is_mine = turn[1].done()
        finally:
            if not is_mine:
                self._leave(turn)
        if not is_mine:
            raise UnavailableError("the collector is busy with other requests; try again")

    def longest_wait_s(self) -> float:
        """How long the first in line has waited; 0 if nobody waits."""
        return asyncio.get_running_loop().time() - self._line[0][2] if self._line else 0.0

    def give_back(self, count: int) -> None:
        """Make `count` free for who waits."""
        self._free += count
        self._serve_line()

    def _leave(self, turn: _Turn) -> None:
        """Who waited takes nothing after all, not even what it was given as it was cancelled."""
        if turn[1].done():
            self._free += turn[0]
        else:
            self._line.remove(turn)
        self._serve_line()

    def _serve_line(self) -> None:
        while self._line and self._line[0][0] <= self._free:
            count, turn, _ = self._line.popleft()
            self._free -= count
            turn.set_result(None)


class Budget(Line):
    """Bytes that the bodies of requests hold together.

    Attributes:
        most_bytes: What one request may hold: what is larger is counted as this, so that others that are slow
            and hold a little never keep it out.
    """

    def __init__(self, total_bytes: int) -> None:
        """Start with all of `total_bytes` free."""
        super().__init__(total_bytes)
        self.most_bytes = total_bytes * 3 // 4


class Claim:
    """What one request holds of the budget.

    Attributes:
        waited_s: How long it has waited for bytes so far.
    """

    def __init__(self, budget: Budget, patience_s: float) -> None:
        """Hold nothing yet; wait `patience_s` seconds in all."""
        self.waited_s = 0.0
        self._budget = budget
        self._patience_s = patience_s
        self._held = 0
        self._is_waiting = False

    async def cover(self, size: int) -> None:
        """Hold at least `size` bytes, or the most that one request may.

        Raises:
            UnavailableError: They did not become free in time.
        """
        size = min(size, self._budget.most_bytes)
        if size <= self._held:
            return
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        self._is_waiting = True
        try:
            await self._budget.take(size - self._held, self._patience_s - self.waited_s)
        finally:
            self._is_waiting = False
            self.waited_s += loop.time() - start_s
        self._held = size

    def reduce(self, size: int) -> None:
        """Hold no more than `size` bytes, unless more are being waited for."""
        if self._held > size and not self._is_waiting:
            self._budget.give_back(self._held - size)
            self._held = size

    def release(self) -> None:
        """Give back what is held."""
        self._budget.give_back(self._held)
        self._held = 0
