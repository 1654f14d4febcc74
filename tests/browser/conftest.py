"""One collector for all tests of this folder, and a browser for each module: starting costs most."""

from collections.abc import Iterator

import pytest

from helpers.browser import Looking, browsing, watched
from helpers.collector import Collector


@pytest.fixture(scope="session")
def _watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A collector with two days of data, in a replay."""
    with watched(tmp_path_factory.mktemp("looking")) as collector:
        yield collector


@pytest.fixture(scope="module")
def looking(_watched: Collector) -> Iterator[Looking]:
    """A browser that looks at it. It ends with its module, because it keeps an event loop in this thread."""
    with browsing(_watched) as found:
        yield found
