"""`lapwing demo`: ten months of real flights through a watched model, and what Lapwing finds in them."""

from lapwing_collector.demo.run import REPLAY_UNTIL, run_demo

__all__ = ["REPLAY_UNTIL", "run_demo"]
