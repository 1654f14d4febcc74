"""Tests never meet a collector of somebody else's on its usual port, nor each other's."""

import os

from hypothesis import settings

os.environ.setdefault("LAPWING_GRPC__LISTEN", "127.0.0.1:0")
os.environ.setdefault("LAPWING_WEB__LISTEN", "127.0.0.1:0")
# The receivers of notifications are on this machine, too.
os.environ.setdefault("LAPWING_DELIVERY__ALLOW_NETWORKS", "127.0.0.0/8")

# How long an example takes is up to what else the machine does; the long campaign tries more of them.
LONG = os.environ.get("LAPWING_FAULTS") == "long"
settings.register_profile("lapwing", deadline=None, max_examples=100 if LONG else 30)
settings.load_profile("lapwing")
