"""Telling people: the notify file, the words of a message, and its delivery through Apprise."""

from lapwing_collector.notify.deliver import Deliverer, Outbox, QueuedMessage
from lapwing_collector.notify.file import read_notify_file
from lapwing_collector.notify.messages import alert_of, messages_for
from lapwing_collector.notify.pace import Rate
from lapwing_collector.notify.pasted import MailServer, Pasted, recognise
from lapwing_collector.notify.reach import ANYWHERE, Reach
from lapwing_collector.notify.render import Rendered, render
from lapwing_collector.notify.target import Outcome, Target, Verdict

__all__ = [
    "ANYWHERE",
    "Deliverer",
    "MailServer",
    "Outbox",
    "Outcome",
    "Pasted",
    "QueuedMessage",
    "Rate",
    "Reach",
    "Rendered",
    "Target",
    "Verdict",
    "alert_of",
    "messages_for",
    "read_notify_file",
    "recognise",
    "render",
]
