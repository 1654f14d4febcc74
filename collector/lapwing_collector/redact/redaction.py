"""Requests without what a policy takes out of them."""

import logging
from typing import Final

from google.protobuf.message import DecodeError as MalformedError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from lapwing import semconv
from lapwing.redact import Place, Redactor
from lapwing_collector.redact.envelope import parse, with_withheld, without_unreadable
from lapwing_collector.redact.policy import Policy
from lapwing_collector.redact.record import Shape, model_of, redact_record
from lapwing_collector.redact.tables import ReadTable, redact_table
from lapwing_collector.redact.values import Walker

logger = logging.getLogger(__name__)

KEPT_MODELS: Final = 4096


class Redaction:
    """A policy, ready to be applied to requests in one thread.

    Attributes:
        version: Names the policy; it stands in every request as `lapwing.redaction`.
        withheld: Records and tables that could not be read well enough to be redacted.
    """

    def __init__(self, policy: Policy, read_table: ReadTable) -> None:
        """Compile the rules; `read_table` reads the table of a batch within bounds."""
        self.version = policy.version
        self.withheld = 0
        self._policy = policy
        self._read_table = read_table
        self._told: set[str] = set()
        self._compiled: dict[tuple[int, ...], Redactor] = {}
        self._models: dict[str, Redactor] = {}
        self._general = self._redactor("")

    @property
    def failures(self) -> int:
        """Values that a rule failed to change; `<redaction failed>` stands in their place."""
        return sum(redactor.failures for redactor in self._compiled.values())

    def __call__(self, payload: bytes) -> bytes:
        """Redact a request, an ExportLogsServiceRequest in protobuf.

        A record that can not be read is withheld: in its place stands one that is rejected. The table of a
        batch that can not be read is replaced by an empty body, which is rejected, too. Fields that OTLP does
        not define are left out.

        Raises:
            DecodeError: It can not be read, and not because of single records.
        """
        withheld: list[int] = []
        try:
            request = ExportLogsServiceRequest.FromString(payload)
        except MalformedError:
            payload, withheld = without_unreadable(payload)
            request = parse(payload)
            self._tell("records withheld: protobuf can not read them")
        request.DiscardUnknownFields()
        number = 0
        for logs in request.resource_logs:
            self._redact_surroundings(logs)
            for scope in logs.scope_logs:
                for record in scope.log_records:
                    if not self._redact(record):
                        withheld.append(number)
                    number += 1
        content: bytes = request.SerializeToString()
        if withheld:
            self.withheld += len(withheld)
            content = with_withheld(content, frozenset(withheld))
        return content

    def _redact_surroundings(self, logs: ResourceLogs) -> None:
        """Redact what stands around records: the resource, the scopes and their schemas."""
        record, root = self._general.record(), self._general.root
        walker = Walker(record, renames=self._policy.renames)
        resource = logs.resource
        if root["resource"].live:
            walker.entries(root["resource"].__getitem__, resource.attributes)
            _redact_entities(walker, root["resource"]["entity_refs"], resource)
        _stamp(resource, self.version)
        logs.schema_url = walker.text(root["resource_schema_url"], logs.schema_url)
        for scope in logs.scope_logs:
            scope.schema_url = walker.text(root["scope_schema_url"], scope.schema_url)
            if root["scope"].live and scope.HasField("scope"):
                _redact_scope(walker, root["scope"], scope.scope)

    def _redact(self, record: LogRecord) -> bool:
        """Redact a record; False, with nothing left in it, where that is not possible."""
        try:
            redactor = self._redactor(model_of(record)) if self._policy.models else self._general
            walker = Walker(redactor.record(), renames=self._policy.renames)
            redact_record(walker, redactor.root, record, self._redact_table)
            if record.event_name in _LABELS:
                _stamp(record, self.version)
        except Exception as error:  # noqa: BLE001  # see below
            # Whatever is wrong with one record costs this one; it must not pass as it is.
            self._tell(f"a record withheld: its redaction failed with {type(error).__name__}")
            record.Clear()
            return False
        return True

    def _redact_table(self, walker: Walker, shape: Shape, content: bytes) -> bytes:
        try:
            return redact_table(walker, shape, content, self._read_table)
        except Exception as error:  # noqa: BLE001  # bytes from anyone
            self.withheld += 1
            self._tell(f"the table of a batch withheld: reading it failed with {type(error).__name__}")
            return b""

    def _redactor(self, model: str) -> Redactor:
        """The rules for a model, compiled once for all models that the same rules are for."""
        found = self._models.get(model)
        if found is None:
            chosen = self._policy.chosen(model)
            found = self._compiled.get(chosen)
            if found is None:
                found = self._compiled[chosen] = Redactor(self._policy.rules_of(chosen), self._tell)
            if len(self._models) >= KEPT_MODELS:
                self._models.clear()
            self._models[model] = found
        return found

    def _tell(self, what: str) -> None:
        """Log a kind of failure once."""
        if what not in self._told:
            self._told.add(what)
            logger.warning("redaction: %s", what, extra={"action": "redaction_failed"})


_LABELS: Final = frozenset((semconv.EVENT_LABEL, semconv.EVENT_LABEL_BATCH))
"""Events whose rows do not have the resource."""


def _redact_scope(walker: Walker, place: Place, scope: InstrumentationScope) -> None:
    scope.name = walker.text(place["name"], scope.name)
    scope.version = walker.text(place["version"], scope.version)
    if place["attributes"].live:
        walker.entries(place["attributes"].__getitem__, scope.attributes)


def _redact_entities(walker: Walker, place: Place, resource: Resource) -> None:
    for entity in resource.entity_refs:
        entity.schema_url = walker.text(place, entity.schema_url)
        entity.type = walker.text(place, entity.type)
        for keys in (entity.id_keys, entity.description_keys):
            keys[:] = [walker.text(place, key) for key in keys]


def _stamp(holder: Resource | LogRecord, version: str) -> None:
    """Say which policy was applied, whatever the sender says of it."""
    attributes = holder.attributes
    for position in reversed(range(len(attributes))):
        if attributes[position].key == semconv.REDACTION:
            del attributes[position]
    attributes.add(key=semconv.REDACTION).value.string_value = version
