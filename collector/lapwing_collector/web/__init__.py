"""What people, dashboards and scripts reach over HTTP: pages, SQL, metrics, health, duties."""

from lapwing_collector.web.admin import Duty
from lapwing_collector.web.answering import AskLake
from lapwing_collector.web.app import Threads, create_app
from lapwing_collector.web.live import Live
from lapwing_collector.web.reads import Read
from lapwing_collector.web.sessions import Authorize
from lapwing_collector.web.sources import RowsOf, Sources
from lapwing_collector.web.works import Work

__all__ = [
    "AskLake",
    "Authorize",
    "Duty",
    "Live",
    "Read",
    "RowsOf",
    "Sources",
    "Threads",
    "Work",
    "create_app",
]
