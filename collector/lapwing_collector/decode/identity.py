"""What identifies a record that nobody has numbered."""

import hashlib
from functools import lru_cache
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource


def canonical_record(record: bytes) -> bytes:
    """The bytes of a record as the protobuf runtime writes them."""
    return LogRecord.FromString(record).SerializeToString()


def digest(resource: bytes, resource_url: str, scope: bytes, scope_url: str, record: bytes) -> bytes:
    """16 bytes that are the same for the same record, however it is grouped with others: its BLAKE2b hash.

    Args:
        resource: The bytes of its resource, however written.
        resource_url: The schema URL of that.
        scope: The bytes of its scope, however written.
        scope_url: The schema URL of that.
        record: Its own bytes, as the protobuf runtime writes them.
    """
    content = hashlib.blake2b(_origin(resource, resource_url, scope, scope_url), digest_size=16)
    content.update(record)
    return content.digest()


def process_id(value: object) -> str | None:
    """Who numbered records, by the attribute of their resource; None if that does not say.

    A long id is known by its hash, since it is remembered for as long as its numbers are. So is one with a
    NUL, which no text of PostgreSQL can have.
    """
    if not isinstance(value, str) or not value:
        return None
    if len(value) <= MAX_PROCESS_ID and "\0" not in value:
        return value
    return hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _origin(resource: bytes, resource_url: str, scope: bytes, scope_url: str) -> bytes:
    size = len(resource) + len(resource_url) + len(scope) + len(scope_url)
    return (_kept_origin if size <= _KEPT_BYTES else _hash_origin)(resource, resource_url, scope, scope_url)


def _hash_origin(resource: bytes, resource_url: str, scope: bytes, scope_url: str) -> bytes:
    content = hashlib.blake2b(digest_size=32)
    for part in (
        Resource.FromString(resource).SerializeToString(deterministic=True),
        resource_url.encode(),
        InstrumentationScope.FromString(scope).SerializeToString(deterministic=True),
        scope_url.encode(),
    ):
        content.update(len(part).to_bytes(8, "little"))
        content.update(part)
    return content.digest()


MAX_PROCESS_ID: Final = 256
"""Characters."""

_KEPT_BYTES: Final = 8192
_kept_origin: Final = lru_cache(maxsize=64)(_hash_origin)
"""A service sends the same resource and scope with each request."""
