"""Tests never meet a collector of somebody else's on its usual port, nor each other's."""

import os

os.environ.setdefault("LAPWING_GRPC__LISTEN", "127.0.0.1:0")
os.environ.setdefault("LAPWING_WEB__LISTEN", "127.0.0.1:0")
