"""What people, dashboards and scripts reach over HTTP: SQL, metrics, health, and the owner's duties."""

from lapwing_collector.web.admin import Duty
from lapwing_collector.web.app import Authorize, Threads, create_app
from lapwing_collector.web.reads import Read
from lapwing_collector.web.sql import AskLake

__all__ = ["AskLake", "Authorize", "Duty", "Read", "Threads", "create_app"]
