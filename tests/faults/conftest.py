"""What all fault tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.faults_claims import Claims
from helpers.faults_plan import LONG, SEED
from helpers.faults_victim import Victim


def pytest_report_header() -> str:
    return f"faults: {'long' if LONG else 'fast'} campaign, LAPWING_FAULT_SEED={SEED}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what campaigns that passed have judged."""
    for report in terminalreporter.getreports("passed"):
        for name, value in getattr(report, "user_properties", ()):
            terminalreporter.write_line(f"{report.nodeid}: {name} {value}")


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    """A collector that is not started yet; none of its processes outlive the test."""
    made = Victim(tmp_path / "data")
    yield made
    made.clear()


@pytest.fixture
def claims() -> Claims:
    """What is claimed in the test."""
    return Claims()
