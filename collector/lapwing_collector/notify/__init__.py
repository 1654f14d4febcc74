"""Telling people: the notify file, the words of a message, and its delivery through Apprise."""

from lapwing_collector.notify.deliver import Deliverer, Outbox, QueuedMessage
from lapwing_collector.notify.drills import drill_tellings
from lapwing_collector.notify.file import read_notify_file
from lapwing_collector.notify.groups import (
    Hush,
    Look,
    Standing,
    Telling,
    changes_for,
    digests,
    hush_by,
    is_active,
    is_astray,
    joinings,
    look_at,
    regroup,
)
from lapwing_collector.notify.matchers import Matcher, match_all, parse_matchers
from lapwing_collector.notify.messages import alert_of, message_of
from lapwing_collector.notify.pace import Rate
from lapwing_collector.notify.pasted import MailServer, Pasted, recognise
from lapwing_collector.notify.policy import BY_ALL_LABELS, NOBODY, Listener, Policy, Receiver, Route
from lapwing_collector.notify.reach import ANYWHERE, Reach
from lapwing_collector.notify.render import Rendered, render
from lapwing_collector.notify.target import Outcome, Target, Verdict

__all__ = [
    "ANYWHERE",
    "BY_ALL_LABELS",
    "NOBODY",
    "Deliverer",
    "Hush",
    "Listener",
    "Look",
    "MailServer",
    "Matcher",
    "Outbox",
    "Outcome",
    "Pasted",
    "Policy",
    "QueuedMessage",
    "Rate",
    "Reach",
    "Receiver",
    "Rendered",
    "Route",
    "Standing",
    "Target",
    "Telling",
    "Verdict",
    "alert_of",
    "changes_for",
    "digests",
    "drill_tellings",
    "hush_by",
    "is_active",
    "is_astray",
    "joinings",
    "look_at",
    "match_all",
    "message_of",
    "parse_matchers",
    "read_notify_file",
    "recognise",
    "regroup",
    "render",
]
