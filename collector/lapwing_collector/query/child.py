"""Starting a process that has nothing of this one but a socket: no environment, no files, no terminal."""

import os
import subprocess
import sys
from socket import socket
from typing import Final, Protocol

from lapwing_collector.sandbox import Needs

_QUERY_PROCESS: Final = """
import sys
descriptor, needs, *sys.path[:] = sys.argv[1:]
from lapwing_collector import sandbox
landlock = sandbox.enter(sandbox.Needs.read(needs))
sandbox.leave_out_pandas()
from lapwing_collector.query.serve import serve
serve(int(descriptor), landlock)
"""
"""Nothing that could start a thread is imported before the sandbox is entered."""


class Child(Protocol):
    """A query process as the operating system has it; all may be called from any thread, and again."""

    @property
    def pid(self) -> int:
        """Its number."""

    def ended(self) -> bool:
        """Whether it is no more."""

    def kill(self) -> None:
        """End it at once."""

    def wait(self) -> None:
        """Wait until it is no more."""


class Spawned:
    """A query process that is an interpreter of its own from the start."""

    def __init__(self, theirs: socket, needs: Needs) -> None:
        """Start it; it dies with the thread that calls this, on Linux.

        Args:
            theirs: Its end of a pair of sockets.
            needs: What it may reach.
        """
        self._process = launch(_QUERY_PROCESS, theirs, needs.written())

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def ended(self) -> bool:
        """Whether it is no more."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def wait(self) -> None:
        """Wait until it is no more."""
        self._process.wait()


def launch(script: str, theirs: socket, *arguments: str) -> "subprocess.Popen[bytes]":
    """Run a script of ours, which is told the descriptor of `theirs`, `arguments`, and where packages are."""
    return subprocess.Popen(  # noqa: S603  # our own script
        [
            sys.executable,
            "-I",
            "-B",
            "-c",
            script,
            str(theirs.fileno()),
            *arguments,
            *filter(None, sys.path),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        env=_environment(),
        cwd="/",
        start_new_session=True,  # Ctrl-C is for whoever asked, who then ends this
    )


def _environment() -> dict[str, str]:
    """Nothing of ours but what an interpreter may need to start, and what keeps libraries frugal.

    Address space is bounded, and counts when it is only reserved: 1 GiB by Arrow's own allocator, 128 MiB for
    each thread that ever allocated. Nor does any library need a thread before it has work.
    """
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    frugal = {
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        "MALLOC_ARENA_MAX": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return kept | frugal | {"LANG": "C.UTF-8", "TZ": "UTC", "HOME": "/nonexistent"}
