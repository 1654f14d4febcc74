"""The command line where nothing can be read but the folder that it is started in, and what Python needs."""

import sysconfig
from importlib.util import find_spec
from pathlib import Path

from lapwing_collector import sandbox

_TIME_ZONES = Path("/usr/share/zoneinfo")


def main() -> None:
    """Give up what is not needed, and run the command line; never returns."""
    packages = [Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")]
    found = find_spec("lapwing")
    own = [Path(place) for place in (found.submodule_search_locations or ())] if found else []
    sandbox.enter(sandbox.Needs.of([Path.cwd(), *packages, *own, _TIME_ZONES]))
    from lapwing_collector.cli.main import main as run  # no thread is started before

    run()


if __name__ == "__main__":
    main()
