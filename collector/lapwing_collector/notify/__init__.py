"""Telling people: the notify file, the words of a message, and its delivery through Apprise."""

from lapwing_collector.notify.deliver import Deliverer, Outbox, QueuedMessage
from lapwing_collector.notify.file import read_notify_file
from lapwing_collector.notify.messages import alert_of, messages_for
from lapwing_collector.notify.render import Rendered, render
from lapwing_collector.notify.target import Outcome, Target, Verdict

__all__ = [
    "Deliverer",
    "Outbox",
    "Outcome",
    "QueuedMessage",
    "Rendered",
    "Target",
    "Verdict",
    "alert_of",
    "messages_for",
    "read_notify_file",
    "render",
]
