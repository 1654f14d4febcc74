"""How much of the fault campaign runs, and how long properties are tried; `make faults` runs all of it."""

import os

import pytest

LONG = os.environ.get("LAPWING_FAULTS") == "long"
SEED = int(os.environ.get("LAPWING_FAULT_SEED", "1"))
KILLS = int(os.environ.get("LAPWING_FAULT_KILLS", "500"))
"""How often the long part kills at random while records come."""
ALERT_KILLS = int(os.environ.get("LAPWING_FAULT_KILLS", "1000")) if LONG else 20
"""How often it is killed while alerts come and go; the least has each kind of moment."""

long_only = pytest.mark.skipif(not LONG, reason="part of the long campaign: make faults")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def examples(fast: int) -> int:
    """How many examples of a property are tried; in the long part ten times as many."""
    return fast * 10 if LONG else fast
