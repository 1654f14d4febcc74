"""De-duplication: which records of which process were already accepted."""

from lapwing_collector.dedup.ledger import Ledger

__all__ = ["Ledger"]
