"""The `lapwing` command: its entry is in the SDK, so that it can say what is missing."""

import sys

from lapwing._version import __version__


def main() -> None:
    """Run the collector's command line; without the collector, say what to install and exit with 2."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"lapwing {__version__}")  # noqa: T201  # what the command is for
        return
    try:
        from lapwing_collector.cli import main as run  # noqa: PLC0415  # may be missing

        run()
    except ModuleNotFoundError as error:
        command = " ".join(["lapwing", *arguments[:1]])
        sys.exit(_missing(command, error))


def _missing(command: str, error: ModuleNotFoundError) -> int:
    print(  # noqa: T201  # what the command is for
        f"{command} needs the collector (there is no module {error.name}): pip install 'lapwing[collector]'",
        file=sys.stderr,
    )
    return 2
