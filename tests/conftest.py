"""Tests never meet a collector of somebody else's on its usual port, nor each other's."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from helpers.faults_plan import LONG, examples

if TYPE_CHECKING:
    from helpers.postgres import Server

os.environ.setdefault("LAPWING_GRPC__LISTEN", "127.0.0.1:0")
os.environ.setdefault("LAPWING_WEB__LISTEN", "127.0.0.1:0")
# The receivers of notifications are on this machine, too.
os.environ.setdefault("LAPWING_DELIVERY__ALLOW_NETWORKS", "127.0.0.0/8")

# How long an example takes is up to what else the machine does. The long campaign tries more, and others
# each time; without it a run finds what the one before found.
settings.register_profile("lapwing", deadline=None, max_examples=examples(30), derandomize=not LONG)
settings.load_profile("lapwing")


@pytest.fixture(scope="session")
def postgres() -> "Iterator[Server]":
    """A PostgreSQL server, one for each process that runs tests."""
    pytest.importorskip("pg8000", reason="the driver of PostgreSQL is not installed")
    from helpers.postgres import programs, running

    found = programs()
    if found is None:
        pytest.skip("no PostgreSQL server is installed (initdb and pg_ctl)")
    with running(found) as server:
        yield server
