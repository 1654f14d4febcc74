"""Redaction of requests before anything is done with them: for senders that have not redacted themselves.

`policy` reads what people wrote; the rules and what they do are those of `lapwing.redact`. `redaction` walks
a request, `record` a record in it, `tables` the Arrow streams of batches; `values` reads and changes single
values; `envelope` opens requests that the protobuf runtime refuses. What can not be read can not be searched
either: it is withheld.
"""

from lapwing_collector.redact.policy import Policy, read_policy
from lapwing_collector.redact.redaction import Redaction

__all__ = ["Policy", "Redaction", "read_policy"]
