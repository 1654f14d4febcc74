"""The OTLP/HTTP server: limits, back-pressure and status codes; it knows nothing of what a body means."""

from lapwing_collector.receive.endpoints import Accepted, Ingest, Readiness, create_app
from lapwing_collector.receive.limits import Limits
from lapwing_collector.receive.server import Server

__all__ = ["Accepted", "Ingest", "Limits", "Readiness", "Server", "create_app"]
