"""The `lapwing` command: its entry is in the SDK, so that it can say what is missing."""

import sys
from importlib.util import find_spec

from lapwing._version import __version__

_EXTRAS = {"lapwing demo": ("its flights and their model", "demo")}
"""What commands need that the collector alone has not, and the extra that brings it."""


def main() -> None:
    """Run the collector's command line; without the collector, say what to install and exit with 2."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"lapwing {__version__}")  # noqa: T201  # what the command is for
        return
    command = " ".join(["lapwing", *arguments[:1]])
    try:
        if find_spec("duckdb") is None:  # what a command needs it imports late, when others run already
            sys.exit(_missing(command, "duckdb"))
        from lapwing_collector.cli import main as run  # noqa: PLC0415  # may be missing

        run()
    except ModuleNotFoundError as error:
        sys.exit(_missing(command, error.name))


def _missing(command: str, module: str | None) -> int:
    what, extra = _EXTRAS.get(command, ("the collector", "collector"))
    print(  # noqa: T201  # what the command is for
        f"{command} needs {what} (there is no module {module}): pip install 'lapwing[{extra}]'",
        file=sys.stderr,
    )
    return 2
