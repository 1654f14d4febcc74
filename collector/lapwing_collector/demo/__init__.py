"""`lapwing demo`: ten months of real flights through a watched model, and what Lapwing finds in them."""

from lapwing_collector.demo.run import run_demo

__all__ = ["run_demo"]
