"""What people, dashboards and scripts reach over HTTP: pages, SQL, metrics, health, duties."""

from lapwing_collector.web.admin import Duty
from lapwing_collector.web.answering import AskLake
from lapwing_collector.web.app import Threads, Watched, create_app, create_bare_app
from lapwing_collector.web.live import Live
from lapwing_collector.web.reads import Read
from lapwing_collector.web.sessions import Authorize
from lapwing_collector.web.sources import RowsOf, Sources, Write
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
    "Watched",
    "Work",
    "Write",
    "create_app",
    "create_bare_app",
]
