"""The rule for drift on its page: how it fares where chance alone moves things, and where something did."""

import re
from types import ModuleType

import pytest

from helpers.benchmarks import load
from helpers.contract_docs import ROOT


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark of the same name, smaller."""
    return load("false_alarms")


def test_drift_is_noticed_and_chance_is_not(bench: ModuleType) -> None:
    """Of 20 quiet weeks with 50 fields none is told of, of 10 moves of half a deviation every one is."""
    quiet, eager = bench.simulate(
        1000, 1500, (bench.VARIANTS[0], bench.VARIANTS[-1]), weeks=20, planted=10, references=1, seed=3
    )
    assert (quiet.weeks, quiet.false, quiet.pairs, quiet.noticed) == (20, 0, 10, 10)
    assert eager.false > 10  # without what keeps it quiet


def test_the_page_tells_what_was_measured() -> None:
    """The table of the page keeps what is promised, from 1 000 rows a week on."""
    page = (ROOT / "docs/drift.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d ]+) \| ([\d ]+) \| ([\d.]+) % \| ([\d.]+) % \|$", page, re.MULTILINE)
    assert len(rows) == 8
    for _, size, false, noticed in rows:
        assert float(false) <= 1
        assert float(noticed) >= 99 or int(size.replace(" ", "")) < 1000
