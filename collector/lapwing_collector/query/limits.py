"""What a query process may use."""

from dataclasses import dataclass

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a query process.

    Attributes:
        memory_bytes: What DuckDB may hold. Half as much again may be mapped beside it before the kernel
            refuses, because single operations do not keep to DuckDB's own limit.
        threads: How many cores one query may use.
    """

    memory_bytes: int = 1024 * _MIB
    threads: int = 1

    @property
    def address_space_bytes(self) -> int:
        """What may be mapped beyond what an idle process has."""
        return self.memory_bytes * 3 // 2 + 256 * _MIB
