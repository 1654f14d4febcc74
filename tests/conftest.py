"""Tests never meet a collector of somebody else's on its usual port, nor each other's."""

import gc
import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from helpers.faults_plan import LONG, examples

if TYPE_CHECKING:
    from helpers.objects import ObjectStore
    from helpers.postgres import Server
    from lapwing_collector.engine.place import Place

os.environ.setdefault("LAPWING_GRPC__LISTEN", "127.0.0.1:0")
os.environ.setdefault("LAPWING_WEB__LISTEN", "127.0.0.1:0")
# The receivers of notifications are on this machine, too.
os.environ.setdefault("LAPWING_DELIVERY__ALLOW_NETWORKS", "127.0.0.0/8")

# How long an example takes is up to what else the machine does. The long campaign tries more, and others
# each time; without it a run finds what the one before found.
settings.register_profile("lapwing", deadline=None, max_examples=examples(30), derandomize=not LONG)
settings.load_profile("lapwing")


def pytest_configure(config: pytest.Config) -> None:
    """Let workers that collect all tests begin at different files: what one has compiled, none compiles anew.

    In a fresh checkout pytest rewrites the assertions of each file, for four seconds of CPU in all.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if worker and config.args == ["tests"]:
        files = sorted(map(str, (config.rootpath / "tests").rglob("test_*.py")))
        begin = len(files) * int(worker) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        config.args = files[begin:] + files[:begin]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage seldom, and not among what stays: neither while it is made, nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000)
        gc.enable()


SERVER = "postgres"
"""Stands for tests that ask for this fixture, and those of the state, which meet it half the time."""
BEGINS = (
    (SERVER, "tests/collector/app/processes/"),
    ("tests/faults/", "tests/collector/lake/"),
    (
        "tests/contract/test_tutorial.py",
        "tests/browser/",
        "tests/examples/",
        "tests/deploy/",
        "tests/collector/demo/",
    ),
    ("tests/collector/app/",),
)
"""What takes long, or shares what takes long to set up: each worker begins with a row of it, so that not all
of them wait at a time, and in the end none is left alone with one of these."""


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before they are shuffled, and after
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Order tests for workers, which get equal parts in a row, and take over ends of others'."""
    items.sort(key=lambda item: item.path)  # each worker collected them in another order
    yield
    begins: dict[str, list[pytest.Item]] = {group: [] for row in BEGINS for group in row}
    rest: list[pytest.Item] = []
    for item in items:
        begins.get(_group_of(item), rest).append(item)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        part = (len(items) - len(ordered)) // (workers - worker)
        first = [item for row in BEGINS[worker::workers] for group in row for item in begins[group]]
        more = max(0, part - len(first))
        ordered += [*first, *rest[:more]]
        del rest[:more]
    items[:] = ordered


def _group_of(item: pytest.Item) -> str:
    """The first group of all rows that a test belongs to."""
    served = SERVER in getattr(item, "fixturenames", ()) or item.nodeid.startswith("tests/collector/state/")
    for row in BEGINS:
        for group in row:
            if item.nodeid.startswith(group) or (served and group == SERVER):
                return group
    return ""


@pytest.fixture(scope="session", autouse=True)
def _origin() -> Iterator[None]:
    """Query processes of all tests come from one, whose imports take a third of a second."""
    try:
        from lapwing_collector.query import ORIGIN
    except ImportError:  # tests of the SDK run without a collector, too
        yield
        return
    ORIGIN.hold()
    yield
    ORIGIN.let_go()


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


@pytest.fixture(scope="session")
def objects() -> "Iterator[ObjectStore]":
    """An object store that speaks S3, one for each process that runs tests."""
    pytest.importorskip("moto", reason="the object store of the tests is not installed")
    from helpers.objects import running

    with running() as store:
        yield store


@pytest.fixture
def shared(postgres: "Server", objects: "ObjectStore") -> "Place":
    """Where a lake is to be that several collectors write to; nothing is there yet."""
    pytest.importorskip("duckdb_extension_postgres_scanner", reason="the extra `scale` is not installed")
    from lapwing_collector.engine.place import CatalogServer, Place

    return Place(CatalogServer.of(postgres.database()), objects.bucket(objects.empty()))
