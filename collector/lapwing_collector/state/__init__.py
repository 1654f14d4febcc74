"""The relational store of alerting: rule states, history, outgoing messages, metric rows, watermarks."""

from lapwing_collector.state.dialects import Place, PostgresServer, SqliteFile
from lapwing_collector.state.late import LateBacklog, LateSlot
from lapwing_collector.state.outbox import OutboxRow
from lapwing_collector.state.pruning import Keep, Pruned
from lapwing_collector.state.schema import Delivery
from lapwing_collector.state.states import SlotCommittedError
from lapwing_collector.state.store import Store

__all__ = [
    "Delivery",
    "Keep",
    "LateBacklog",
    "LateSlot",
    "OutboxRow",
    "Place",
    "PostgresServer",
    "Pruned",
    "SlotCommittedError",
    "SqliteFile",
    "Store",
]
