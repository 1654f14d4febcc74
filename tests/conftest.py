"""Tests never meet a collector of somebody else's on its usual port, nor each other's."""

import os

from hypothesis import settings

os.environ.setdefault("LAPWING_GRPC__LISTEN", "127.0.0.1:0")
os.environ.setdefault("LAPWING_WEB__LISTEN", "127.0.0.1:0")

# How long an example takes is up to what else the machine does.
settings.register_profile("lapwing", deadline=None)
settings.load_profile("lapwing")
