"""One browser and one collector for all tests of this folder: starting them is most of what they cost."""

from collections.abc import Iterator

import pytest

from helpers.browser import Looking, looking_at


@pytest.fixture(scope="session")
def looking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looking]:
    """A browser over a collector with two days of data, in a replay."""
    with looking_at(tmp_path_factory.mktemp("looking")) as found:
        yield found
