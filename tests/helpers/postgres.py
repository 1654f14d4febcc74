"""A PostgreSQL server of the tests' own, from the programs that are installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import pg8000

from helpers.ports import free_port

_USER: Final = "lapwing"
_LETS_IN: Final = ("--auth-local=trust", "--auth-host=scram-sha-256", "--no-instructions")
_NUMBERS: Final = count(1)


def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, the newest if there are several; None if there is none."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/opt/homebrew/opt").glob("postgresql*/bin")]
    found = [each for each in folders if (each / "initdb").exists() and (each / "pg_ctl").exists()]
    if found:
        return max(found, key=lambda each: [int(part) for part in each.parts if part.isdigit()])
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(on_path).resolve().parent


class Server:
    """A server that listens on a socket in a folder."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self.folder = folder
        self.port = free_port()
        # The server refuses to run as root.
        self._as: dict[str, Any] = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}

    @property
    def url(self) -> str:
        """The database that every test has for itself, by the schema that is made last."""
        return f"postgresql://{_USER}@:{self.port}/postgres?host={self.folder}"

    @property
    def url_for_password(self) -> str:
        """The same over TCP, where its user shows a password."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        """Make the files of the server."""
        self._run("initdb", "-U", _USER, "-N", "-E", "UTF8", "--locale=C", *_LETS_IN)
        with (self.folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.write(f"listen_addresses = '127.0.0.1'\nport = {self.port}\n")
            settings.write(f"unix_socket_directories = '{self.folder}'\nfsync = off\n")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run("pg_ctl", "-w", "-s", "-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; `immediate` is as if it had crashed."""
        self._run("pg_ctl", "-w", "-s", "-m", mode, "stop")

    def empty(self) -> str:
        """Make an empty schema, in which whoever connects from now on is; gives the address."""
        schema = f"state{next(_NUMBERS)}"
        self.execute(
            f"CREATE SCHEMA {schema}", f"ALTER ROLE {_USER} IN DATABASE postgres SET search_path = {schema}"
        )
        return self.url

    def database(self) -> str:
        """Make an empty database; gives its address."""
        name = f"lake{next(_NUMBERS)}"
        self.execute(f"CREATE DATABASE {name}")
        return f"postgresql://{_USER}@:{self.port}/{name}?host={self.folder}"

    def execute(self, *statements: str) -> list[Any]:
        """Run statements; the rows of the last."""
        socket = str(self.folder / f".s.PGSQL.{self.port}")
        connection = pg8000.connect(_USER, database="postgres", unix_sock=socket, ssl_context=False)
        connection.autocommit = True
        cursor = connection.cursor()
        try:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, "-D", self.folder / "data", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            **self._as,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"


@contextmanager
def running(programs: Path) -> Iterator[Server]:
    """A server for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="lapwing-pg-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        server = Server(programs, folder)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()
