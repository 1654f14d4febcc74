"""De-duplication: which records were already accepted, and which numbers never came."""

from lapwing_collector.dedup.admission import Admission
from lapwing_collector.dedup.keys import NO_HASHES, Hashes
from lapwing_collector.dedup.ledger import Admitting, Ledger, Loss, Replaying, SenderLoss

__all__ = ["NO_HASHES", "Admission", "Admitting", "Hashes", "Ledger", "Loss", "Replaying", "SenderLoss"]
