"""How much of the fault campaign runs: a fast part always, the long part by `make faults`."""

import os

import pytest

LONG = os.environ.get("LAPWING_FAULTS") == "long"
SEED = int(os.environ.get("LAPWING_FAULT_SEED", "1"))
KILLS = int(os.environ.get("LAPWING_FAULT_KILLS", "500"))
"""How often the long part kills at random."""

long_only = pytest.mark.skipif(not LONG, reason="part of the long campaign: make faults")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
