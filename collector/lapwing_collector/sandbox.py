"""Gives up what a process does not need: files, TCP, programs, its environment's secrets, pandas.

A process enters by itself, before it imports or opens anything that starts threads: Landlock holds for the
thread that asks and for those that it starts later.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_PATH_BENEATH: Final = 1
_NETWORK_PORT: Final = 2
_CONNECT: Final = 1 << 1
_NEVER_GAIN_PRIVILEGES: Final = 38
_DIE_WITH_PARENT: Final = 1

_READ_FILE: Final = 1 << 2
_READ_FOLDER: Final = 1 << 3
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights over files each version of Landlock knows; from 5 on, 16."""

_SYSTEM: Final = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/proc/self/cgroup",  # DuckDB reads how much memory it may use, and ends itself where it cannot
    "/proc/self/statm",
    "/proc/meminfo",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
)
_PACKAGES: Final = (
    "duckdb",
    "numpy",
    "pyarrow",
    "duckdb_extension_ducklake",
    "duckdb_extension_sqlite_scanner",
    "duckdb_extension_postgres_scanner",
    "duckdb_extension_httpfs",
)

_LONGEST_FILE_BYTES: Final = 0
_MOST_OPEN_FILES: Final = 1024


def landlock_version() -> int:
    """The version of Landlock that the kernel has; 0 where it has none, as on macOS."""
    if not sys.platform.startswith("linux"):
        return 0
    version = _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return max(int(version), 0)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a process is to reach.

    Attributes:
        readable: Files and folders that it reads.
        ports: Those of TCP that it connects to.
    """

    readable: tuple[str, ...]
    ports: tuple[int, ...] = ()

    @classmethod
    def of(cls, readable: Iterable[Path], ports: Iterable[int] = ()) -> Self:
        """These files and ports."""
        return cls(tuple(map(str, readable)), tuple(ports))

    @classmethod
    def read(cls, text: str) -> Self:
        """What `written` wrote."""
        readable, ports = json.loads(text)
        return cls(tuple(readable), tuple(ports))

    def written(self) -> str:
        """As text, for another process."""
        return json.dumps([self.readable, self.ports])


def enter(needs: Needs) -> int:
    """Keep only the reading of what is needed, of the interpreter with its packages, and of system libraries.

    From then on this process cannot write, make or remove a file, run a program or gain rights, and it dies
    when the thread that started it does. From version 4 of Landlock on it cannot listen over TCP, nor
    connect but to the ports that are needed, of whatever machine, and from 6 on it reaches no abstract socket
    and no process outside. Landlock has no rights over UDP, nor over connecting to sockets that are files:
    these stay open. Where the kernel has no Landlock, files that its user may read stay readable, and the
    network stays open.

    Returns:
        The version of Landlock that holds; 0 for none.
    """
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing a file is an error then, and no sudden death
    _lower(resource.RLIMIT_FSIZE, _LONGEST_FILE_BYTES)
    _lower(resource.RLIMIT_NOFILE, _MOST_OPEN_FILES)
    _lower(resource.RLIMIT_CORE, 0)
    if not sys.platform.startswith("linux"):
        return 0
    libc = _libc()
    libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_NEVER_GAIN_PRIVILEGES, 1, 0, 0, 0)
    version = landlock_version()
    if version:
        _restrict(
            libc, version, [*map(Path, needs.readable), *_interpreter(), *map(Path, _SYSTEM)], needs.ports
        )
    return version


def leave_out_pandas() -> None:
    """Keep pandas out of this process, whatever is imported later.

    Arrow and DuckDB import it wherever it is installed, for conversions that nobody asks for here: 60 MB and
    a third of the start.
    """
    sys.meta_path.insert(0, _NoPandas())


def limit_address_space(more_bytes: int) -> None:
    """Let this process map `more_bytes` more than it has mapped so far; nothing where that is unknown."""
    with suppress(OSError):  # there is no such file on macOS, which does not take the limit either
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + more_bytes)


def limit_cpu(more_s: float) -> None:
    """Let the kernel end this process once it has used `more_s` more seconds of CPU time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + more_s) + 1, hard))


class _NoPandas:
    """Tells who looks for pandas that there is none."""

    @staticmethod
    def find_spec(name: str, *_: object) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def _restrict(libc: ctypes.CDLL, version: int, readable: Iterable[Path], ports: Iterable[int]) -> None:
    rights = (1 << _FILE_RIGHTS.get(version, 16)) - 1
    network = 0b11 if version >= 4 else 0  # to listen, to connect
    scoped = 0b11 if version >= 6 else 0  # abstract sockets, signals
    attributes = struct.pack("=QQQ", rights, network, scoped)[
        : 8 if version < 4 else 16 if version < 6 else 24
    ]
    rules = _checked(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        for path in readable:
            _allow(libc, rules, path, _READ_FILE | _READ_FOLDER)
        for folder in sys.path:
            _allow(libc, rules, Path(folder), _READ_FOLDER)  # what lies there may be looked for, not read
        for port in ports if network else ():
            rule = struct.pack("=QQ", _CONNECT, port)
            _checked(libc.syscall(_ADD_RULE, rules, _NETWORK_PORT, rule, 0))
        _checked(libc.syscall(_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    try:
        file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        granted = rights if path.is_dir() else rights & _READ_FILE
        if granted:
            rule = struct.pack("=Qi", granted, file)
            _checked(libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0))
    finally:
        os.close(file)


def _interpreter() -> list[Path]:
    """Where Python, our own code and the packages that it uses lie; nothing is imported for this."""
    found = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parent}
    found |= {
        Path(folder) for name, folder in sysconfig.get_paths().items() if name.endswith(("lib", "stdlib"))
    }
    for package in _PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            found.add(Path(folder).parent)
    return sorted(found)


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(limit, (allowed, allowed))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
