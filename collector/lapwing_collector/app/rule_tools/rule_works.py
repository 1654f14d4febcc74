"""Tools for rules over HTTP: each run is a process of its own, behind everything else, and can be killed.

Trying a month of slots takes seconds of Python, and tests bring SQL of whoever asks: neither has a place in
the process that receives. What runs is what the command line runs, so that both say the same. Files that
somebody sent are looked at where nothing else can be read: what they refer to would be told.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final

from lapwing_collector.config import parse_duration
from lapwing_collector.errors import ConfigError, LapwingError, QueryLimitError, UnavailableError
from lapwing_collector.model.queries import Cancellation
from lapwing_collector.sandbox import landlock_version

LONGEST_S: Final = 300.0
_PATIENCE_S: Final = 5.0
_NICENESS: Final = 5
"""Live rules, and everybody else, go first."""
_MOST_SLOTS: Final = 100_000
_MOST_FILES: Final = 100
_CHECKING: Final = frozenset({"files"})
_TESTING: Final = frozenset({"files", "tests", "run"})
_TRYING: Final = frozenset(
    {"rule", "rules", "from", "to", "threshold", "condition", "for", "slots", "timeout"}
)

_PROGRAM: Final = (sys.executable, "-P", "-m", "lapwing_collector.cli")
_CONFINED: Final = (sys.executable, "-P", "-m", "lapwing_collector.cli.confined")
_KEPT: Final = ("PATH", "PYTHONPATH", "LANG", "LD_LIBRARY_PATH")
"""What is left of the environment for files that somebody sent, lest they quote it."""


class RuleWorks:
    """Checks, tests and back-tests rules for those who ask over HTTP, one after another."""

    def __init__(self, config: Path | None, data: Path) -> None:
        """Work with the project of a settings file, if any, and a data directory."""
        self._paths = [
            *(("--config", str(config.absolute())) if config else ()),
            "--data",
            str(data.absolute()),
        ]
        self._folder = config.absolute().parent if config else Path.cwd()
        self._turn = threading.Semaphore(1)

    def works(self) -> dict[str, Callable[[Mapping[str, Any], Cancellation], Any]]:
        """What can be asked for, by name."""
        return {"check": self.check, "test": self.test, "backtest": self.backtest}

    def check(self, asked: Mapping[str, Any], cancellation: Cancellation) -> Any:
        """Check the rule files of the project, or those that are `files`, texts by name.

        Raises:
            LapwingError: It cannot be done.
        """
        _only("check", asked, _CHECKING)
        if "files" not in asked:
            return self._run(
                [*_PROGRAM, "rules", "check", "--json", *self._paths], cancellation, self._folder
            )
        with _written(asked["files"]) as (folder, names):
            command = [*_CONFINED, "rules", "check", "--json", "--data", "none", "--", *names]
            return self._run(command, cancellation, folder, environment=_environment())

    def test(self, asked: Mapping[str, Any], cancellation: Cancellation) -> Any:
        """Run tests of rules: `files` are texts by name, of which `tests`, or all `…_test.yaml`, are tests.

        Raises:
            LapwingError: It cannot be done.
        """
        _only("test", asked, _TESTING)
        with _written(asked.get("files")) as (folder, names):
            tests = asked.get("tests", [name for name in names if name.endswith(("_test.yaml", "_test.yml"))])
            if not _are_texts(tests) or not tests or not set(tests) <= set(names):
                raise ConfigError("test: expected `tests` to name test files among `files`")
            run = _text(asked, "run")
            only = [] if run is None else [f"--run={run}"]
            command = [*_CONFINED, "rules", "test", "--json", *only, "--", *tests]
            return self._run(command, cancellation, folder, environment=_environment())

    def backtest(self, asked: Mapping[str, Any], cancellation: Cancellation) -> Any:
        """Walk rules through the past: `rule` or `rules`, `from` and `to`, with another `threshold` or `for`.

        Raises:
            LapwingError: It cannot be done.
        """
        _only("backtest", asked, _TRYING)
        names = asked.get("rules", [asked["rule"]] if "rule" in asked else [])
        if not _are_texts(names):
            raise ConfigError(
                "backtest: expected `rule` to be the name of a rule, or `rules` a list of these"
            )
        words = [f"--rule={name}" for name in names]
        since = _text(asked, "from")
        if since is None:
            raise ConfigError('backtest: expected `from`: a time, or how long before `to`, as "7d"')
        words += [f"--from={since}", f"--max-slots={_MOST_SLOTS}"]
        options = {"to": "to", "condition": "condition", "for": "for"}
        words += [
            f"--{name}={text}" for key, name in options.items() if (text := _text(asked, key)) is not None
        ]
        threshold = asked.get("threshold")
        if threshold is not None:
            if isinstance(threshold, bool) or not isinstance(threshold, int | float):
                raise ConfigError(f"backtest: expected a number as `threshold`, not {threshold!r}")
            words.append(f"--threshold={threshold!r}")
        if asked.get("slots") is True:
            words.append("--slots")
        elif asked.get("slots") not in {None, False}:
            raise ConfigError("backtest: expected true or false as `slots`")
        command = [*_PROGRAM, "rules", "backtest", "--json", *words, *self._paths]
        return self._run(command, cancellation, self._folder, _limit_s(_text(asked, "timeout")))

    def _run(  # what a process is made of
        self,
        command: Sequence[str],
        cancellation: Cancellation,
        folder: Path,
        limit_s: float = LONGEST_S,
        environment: Mapping[str, str] | None = None,
    ) -> Any:
        if any("\0" in word for word in command):
            raise ConfigError("a text has the character U+0000, which no command can be given")
        if not self._turn.acquire(timeout=_PATIENCE_S):
            raise UnavailableError("rules are tried for somebody else; try again in a moment")
        try:
            process = _started(command, folder, environment)
            with suppress(OSError):  # it has ended
                os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
            told, complaints = _heard(process, cancellation, limit_s)
        finally:
            self._turn.release()
        try:
            return json.loads(told)
        except ValueError:
            text = complaints.decode(errors="replace").strip()
        if cancellation.cancelled:
            raise UnavailableError("nobody waits for it any more")
        if process.returncode == 1:
            raise ConfigError(text.removeprefix("lapwing: "))
        raise LapwingError(f"it ended with {process.returncode}: {text[-2000:] or 'and said nothing'}")


def _started(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None
) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(  # noqa: S603  # this program itself
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        raise ConfigError(
            "a text is too long to be told to a command, or all of them together are"
        ) from error


def _heard(
    process: "subprocess.Popen[bytes]", cancellation: Cancellation, limit_s: float
) -> tuple[bytes, bytes]:
    try:
        cancellation.ends_by(lambda: _kill(process))
        return process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise QueryLimitError(
            f"it took longer than {limit_s:g} s; ask for less time, or for fewer rules"
        ) from None
    finally:
        cancellation.ends_by(None)
        _kill(process)
        process.communicate()


def _environment() -> dict[str, str]:
    if not landlock_version():
        raise LapwingError(
            "files over HTTP are looked at where they can read nothing else, which takes Landlock, and this "
            "system has none: use the command `lapwing rules` where the files are"
        )
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process with those that it started; once it was waited for, its number may be another's."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):  # it has ended
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _written(files: Any) -> Iterator[tuple[Path, list[str]]]:
    """A folder of its own with files that somebody sent, and their names."""
    if not isinstance(files, dict) or not files or not _are_texts(list(files.values())):
        raise ConfigError("expected `files`: an object of texts by the names of files")
    if len(files) > _MOST_FILES:
        raise ConfigError(f"{len(files)} files are more than {_MOST_FILES}")
    with tempfile.TemporaryDirectory(prefix="lapwing-rules-") as name:
        folder = Path(name)
        for path, text in files.items():
            parts = PurePosixPath(path).parts
            if not parts or path.startswith(("/", "-")) or ".." in parts or "\0" in path or "\\" in path:
                raise ConfigError(f"{path!r} is no name of a file beside the others")
            try:
                place = folder / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text, encoding="utf-8")
            except (OSError, UnicodeEncodeError) as error:
                raise ConfigError(f"{path!r} cannot be written: {type(error).__name__}") from error
        yield folder, list(files)


def _are_texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(each, str) for each in found)


def _text(asked: Mapping[str, Any], key: str) -> str | None:
    value = asked.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"`{key}`: expected a text, not {value!r}")
    return value


def _limit_s(text: str | None) -> float:
    if text is None:
        return LONGEST_S
    try:
        return min(parse_duration(text).total_seconds(), LONGEST_S)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"timeout: expected {error}") from error


def _only(what: str, asked: Mapping[str, Any], known: frozenset[str]) -> None:
    if unknown := sorted(asked.keys() - known):
        raise ConfigError(f"{what}: `{unknown[0]}` is not known here; known are {', '.join(sorted(known))}")
