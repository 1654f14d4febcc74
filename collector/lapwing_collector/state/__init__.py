"""The relational store of alerting: rule states, history, outgoing messages, metric rows, watermarks."""

from lapwing_collector.state.dialects import (
    OwnedElsewhereError,
    Place,
    PostgresServer,
    Role,
    Seat,
    SqliteFile,
)
from lapwing_collector.state.late import LateBacklog, LateSlot
from lapwing_collector.state.moving import move_state
from lapwing_collector.state.outbox import OutboxRow
from lapwing_collector.state.pruning import Keep, Pruned
from lapwing_collector.state.schema import NEWEST, Delivery
from lapwing_collector.state.states import SlotCommittedError
from lapwing_collector.state.store import Store
from lapwing_collector.state.versions import schema_of

__all__ = [
    "NEWEST",
    "Delivery",
    "Keep",
    "LateBacklog",
    "LateSlot",
    "OutboxRow",
    "OwnedElsewhereError",
    "Place",
    "PostgresServer",
    "Pruned",
    "Role",
    "Seat",
    "SlotCommittedError",
    "SqliteFile",
    "Store",
    "move_state",
    "schema_of",
]
