"""The OTLP servers: limits, back-pressure and status codes; they know nothing of what a body means."""

from lapwing_collector.receive.endpoints import create_app
from lapwing_collector.receive.grpc import GrpcServer
from lapwing_collector.receive.intake import Accepted, Guard, Ingest, Intake, Readiness
from lapwing_collector.receive.limits import Limits
from lapwing_collector.receive.server import Server

__all__ = [
    "Accepted",
    "GrpcServer",
    "Guard",
    "Ingest",
    "Intake",
    "Limits",
    "Readiness",
    "Server",
    "create_app",
]
