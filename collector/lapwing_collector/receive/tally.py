"""What requests were answered, for those who watch."""

from collections import Counter


class Tally:
    """Counts requests. Written by the event loop alone, read by anybody.

    Attributes:
        body_bytes: Size of the bodies that were taken, after decompression.
    """

    def __init__(self) -> None:
        """Count from zero."""
        self._answers: Counter[tuple[str, str]] = Counter()
        self.body_bytes = 0

    def add(self, transport: str, status: str) -> None:
        """Count an answer, by the name that its protocol has for it."""
        self._answers[transport, status] += 1

    def answers(self) -> dict[tuple[str, str], int]:
        """Requests by transport and status."""
        return dict(self._answers)
