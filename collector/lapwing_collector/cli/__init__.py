"""The `lapwing` command."""

from lapwing_collector.cli.main import main

__all__ = ["main"]
