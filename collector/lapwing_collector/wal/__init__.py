"""The durable log: what was acknowledged is on disk here until the lake holds it."""

from lapwing_collector.wal.durable import leave_to_system, sync_data, write_durably
from lapwing_collector.wal.log import Log, LogClosedError
from lapwing_collector.wal.record import Entry
from lapwing_collector.wal.segments import Damage

__all__ = ["Damage", "Entry", "Log", "LogClosedError", "leave_to_system", "sync_data", "write_durably"]
