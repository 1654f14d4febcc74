"""Commands inside the test's process, which has imported what they need."""

import gc
import sys

import pytest

from lapwing_collector.cli.main import main


def exit_code(*arguments: str) -> int:
    """Run `lapwing` with arguments as a process of its own would, and leave this one as it was."""
    thresholds = gc.get_threshold()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lapwing", *arguments])
        patch.setattr(sys, "meta_path", [*sys.meta_path])  # commands keep pandas out
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0)
        finally:
            gc.set_threshold(*thresholds)
    return 0
