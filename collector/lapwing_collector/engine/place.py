"""Where a lake is: its catalog in a SQLite file or in PostgreSQL, its files in a folder or in a bucket.

All that tells these apart when DuckDB attaches a lake, or has its catalog answer by itself, is here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, ClassVar, Final

from lapwing_collector.engine.quoting import literal
from lapwing_collector.errors import ConfigError
from lapwing_collector.model.addresses import bucket_address, catalog_address

LAKE: Final = "lake"
"""Name under which every connection attaches the lake."""

METADATA: Final = f"__ducklake_metadata_{LAKE}"
"""What DuckLake attaches the lake's catalog as, beside it."""

_SESSION: Final = {
    "connect_timeout": "5",
    "tcp_user_timeout": "15000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
"""After how long a server that does not answer counts as gone."""
_SERVER_SESSION: Final = (
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 "
    "-c lock_timeout=20s -c search_path=public"
)
_WRITES: Final = "-c default_transaction_read_only=off -c idle_in_transaction_session_timeout=60s"
"""A collector that lost its power, or its network, must not keep the others from writing."""
_READS: Final = "-c default_transaction_read_only=on -c idle_in_transaction_session_timeout=0"
"""A query waits in its transaction while it reads files, however long, and keeps nobody from anything."""
_NAME_SERVICE: Final = (
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
)
_AUTHORITIES: Final = ("/etc/ssl", "/etc/pki", "/usr/share/ca-certificates")
_NAME_SERVICE_PORT: Final = 53
_GOOGLE: Final = "storage.googleapis.com"
_APART: Final = r"(--[^\n]*|'[^']*')"
"""What in SQL is none: comments, and texts, which may be anybody's."""

_PARAMETER: Final = re.compile(rf"{_APART}|\$(\d+)")


@dataclass(frozen=True, slots=True, order=True)
class Remote:
    """A file or a folder in a bucket.

    Attributes:
        url: Its address, as DuckDB reads it.
    """

    url: str

    def __truediv__(self, part: str | PurePath) -> "Remote":
        """What is in it under a name."""
        return Remote(f"{self.url.rstrip('/')}/{PurePath(part).as_posix()}")

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """Its last part."""
        return self.url.rpartition("/")[2]


Location = Path | Remote
"""Where a file of the lake is, or a folder of them."""


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """A catalog in a SQLite file, which one process writes.

    Attributes:
        path: The file, absolute.
    """

    path: Path

    extension: ClassVar[str] = "sqlite_scanner"
    shared: ClassVar[bool] = False
    addresses: ClassVar[tuple[int, ...]] = ()

    def __str__(self) -> str:
        return str(self.path)

    @property
    def needs(self) -> tuple[Path, ...]:
        """Folders whose files are read."""
        return (self.path.parent,)

    def source(self, *, read_only: bool) -> tuple[str, str]:
        """What DuckLake attaches, and options for that."""
        options = "" if read_only else "META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT 5000, "
        return f"sqlite:{self.path}", options

    def attached(self, name: str, *, read_only: bool = True) -> str:
        """SQL that attaches the catalog itself."""
        access = ", READ_ONLY" if read_only else ""
        return f"ATTACH {literal(str(self.path))} AS {name} (TYPE sqlite{access})"

    def secret(self) -> str:
        """SQL that makes what attaching needs to be known."""
        return ""

    def asked(self, name: str, sql: str) -> str:
        """The table that SQL of the catalog's own gives, for a FROM; it gives every value as text."""
        # By its whole name: DuckDB looks for others in the lake first, and reads its newest snapshot for it.
        return f"system.main.sqlite_query({literal(name)}, {literal(sql)})"

    def changed(self, name: str, sql: str) -> str:  # noqa: ARG002  # SQLite is changed through DuckDB
        """SQL that runs statements that change the catalog."""
        return sql


@dataclass(frozen=True, slots=True)
class CatalogServer:
    """A catalog in a database of a PostgreSQL server, which several collectors write.

    Attributes:
        host: Its name or address, or the folder of a socket.
        port: Where it listens.
        database: Which database.
        user: As whom.
        password: Of the user.
        parameters: Further ones of the connection.
    """

    host: str
    port: int
    database: str
    user: str
    password: str | None = field(default=None, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict)

    extension: ClassVar[str] = "postgres_scanner"
    shared: ClassVar[bool] = True

    @classmethod
    def of(cls, url: str, password: str | None = None) -> "CatalogServer":
        """The database at `url`, as `catalog_address` reads it.

        Args:
            url: The address.
            password: That of the user, if it is not in `url`.

        Raises:
            ConfigError: It is no such address.
        """
        try:
            there = catalog_address(url)
        except ValueError as error:
            raise ConfigError(f"lake.catalog: {error}") from error
        own = there.password if password is None else password
        return cls(there.host, there.port, there.database, there.user, own, there.parameters)

    def __str__(self) -> str:
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.database}"

    @property
    def needs(self) -> tuple[Path, ...]:
        """Files that are read to connect."""
        authority = self.parameters.get("sslrootcert")
        socket = (Path(self.host),) if self.host.startswith("/") else ()
        return (*((Path(authority),) if authority else ()), *socket)

    @property
    def addresses(self) -> tuple[int, ...]:
        """Ports that are connected to."""
        return () if self.host.startswith("/") else (self.port, _NAME_SERVICE_PORT)

    def source(self, *, read_only: bool) -> tuple[str, str]:
        """What DuckLake attaches, and options for that."""
        options = "META_SECRET lapwing_catalog, METADATA_SCHEMA 'public', "
        return f"postgres:{self._connection(read_only=read_only)}", options

    def attached(self, name: str, *, read_only: bool = True) -> str:
        """SQL that attaches the catalog itself."""
        connection = literal(self._connection(read_only=read_only))
        access = ", READ_ONLY" if read_only else ""
        return f"ATTACH {connection} AS {name} (TYPE postgres, SECRET lapwing_catalog{access})"

    def secret(self) -> str:
        """SQL that makes what attaching needs to be known; no message of DuckDB's says it again."""
        password = f", PASSWORD {literal(self.password)}" if self.password is not None else ""
        return (
            f"CREATE OR REPLACE SECRET lapwing_catalog (TYPE postgres, USER {literal(self.user)}{password})"
        )

    def asked(self, name: str, sql: str) -> str:
        """The table that SQL of the catalog's own gives, for a FROM."""
        return f"system.main.postgres_query({literal(name)}, {literal(sql)})"

    def changed(self, name: str, sql: str) -> str:
        """SQL that runs statements that change the catalog: on the server, in one go."""
        own = re.sub(rf"{_APART}|\b{name}\.(?:main\.)?", lambda match: match[1] or "", sql)
        return f"CALL postgres_execute({literal(name)}, {literal(own)})"

    def _connection(self, *, read_only: bool) -> str:
        session = f"{_SERVER_SESSION} {_READS if read_only else _WRITES}"
        told = {
            "host": self.host,
            "port": str(self.port),
            "dbname": self.database,
            "application_name": "lapwing",
            **_SESSION,
            **self.parameters,
            "options": session,
        }
        return " ".join(f"{name}={_quoted(value)}" for name, value in told.items())


@dataclass(frozen=True, slots=True)
class Folder:
    """Files of a lake in a folder.

    Attributes:
        root: The folder, absolute.
    """

    root: Path

    extension: ClassVar[str | None] = None
    addresses: ClassVar[tuple[int, ...]] = ()

    def __str__(self) -> str:
        return str(self.root)

    @property
    def needs(self) -> tuple[Path, ...]:
        """Folders whose files are read."""
        return (self.root,)

    def secret(self) -> str:
        """SQL that makes what reading needs to be known."""
        return ""

    def located(self, text: str) -> Location:
        """The file at a place as DuckDB and the catalog say it."""
        return Path(text)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Files of a lake in a bucket of an object store that speaks S3.

    Attributes:
        root: The bucket and what names of files begin with in it.
        endpoint: Host and port of the store; that of AWS in the region if None.
        region: Where the bucket is.
        access_key: Who asks; nobody in particular if None.
        secret_key: That it is they.
        session_token: For keys that hold for a while.
        path_style: Whether the bucket stands in the path of addresses, not in the host's name.
        tls: Whether connections are encrypted.
    """

    root: Remote
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    path_style: bool = False
    tls: bool = True

    extension: ClassVar[str | None] = "httpfs"

    def __str__(self) -> str:
        return self.root.url

    @property
    def needs(self) -> tuple[Path, ...]:
        """Files that are read to connect."""
        return tuple(map(Path, _AUTHORITIES)) if self.tls else ()

    @property
    def addresses(self) -> tuple[int, ...]:
        """Ports that are connected to."""
        _, colon, port = (self.endpoint or "").rpartition(":")
        own = int(port) if colon and port.isdigit() else 443 if self.tls else 80
        return own, _NAME_SERVICE_PORT

    def secret(self) -> str:
        """SQL that makes what reading needs to be known; no message of DuckDB's says it again."""
        told = {
            "TYPE": "s3",
            "SCOPE": literal(self.root.url),
            "REGION": literal(self.region),
            "URL_STYLE": "'path'" if self.path_style else "'vhost'",
            "USE_SSL": "true" if self.tls else "false",
        }
        for name, value in (
            ("ENDPOINT", self.endpoint),
            ("KEY_ID", self.access_key),
            ("SECRET", self.secret_key),
            ("SESSION_TOKEN", self.session_token),
        ):
            if value is not None:
                told[name] = literal(value)
        return f"CREATE OR REPLACE SECRET lapwing_files ({', '.join(f'{k} {v}' for k, v in told.items())})"

    def located(self, text: str) -> Location:
        """The file at a place as DuckDB and the catalog say it."""
        return Remote(text)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a lake is.

    Attributes:
        catalog: Which files hold which table.
        files: What they are in.
    """

    catalog: CatalogFile | CatalogServer
    files: Folder | Bucket

    @classmethod
    def within(cls, folder: Path) -> "Place":
        """The lake of one process that is all in one folder."""
        folder = folder.resolve()
        return cls(CatalogFile(folder / "catalog.sqlite"), Folder(folder / "data"))

    def __str__(self) -> str:
        folder = self.folder
        return str(folder) if folder is not None else f"{self.catalog} with {self.files}"

    @property
    def folder(self) -> Path | None:
        """The one folder that all of it is in; None where it is in several places."""
        if isinstance(self.catalog, CatalogFile) and isinstance(self.files, Folder):
            folder = self.catalog.path.parent
            return folder if self.files.root == folder / "data" else None
        return None

    @property
    def shared(self) -> bool:
        """Whether several collectors may write to it."""
        return self.catalog.shared

    @property
    def extensions(self) -> tuple[str, ...]:
        """Of DuckDB, that are needed beside that for lakes."""
        return tuple(each for each in (self.catalog.extension, self.files.extension) if each)

    @property
    def prefix(self) -> str:
        """What the addresses of its files begin with."""
        return f"{self.files.root}/"

    @property
    def readable(self) -> tuple[Path, ...]:
        """Files and folders that who reads it needs."""
        remote = tuple(map(Path, _NAME_SERVICE)) if self.ports else ()
        return (*self.catalog.needs, *self.files.needs, *remote)

    @property
    def ports(self) -> tuple[int, ...]:
        """Those of TCP that who reads it connects to."""
        return tuple(sorted({*self.catalog.addresses, *self.files.addresses}))

    def attachment(self, *, read_only: bool, name: str = LAKE, snapshot: int | None = None) -> Sequence[str]:
        """SQL that attaches it.

        Args:
            read_only: Whether nothing can be written.
            name: What it is called.
            snapshot: The one to read whatever comes later; each query reads the newest if None.
        """
        source, options = self.catalog.source(read_only=read_only)
        # Even with the limit of the session at 0, DuckLake would make an empty table for the inlined rows of
        # each shape of each table, and look into all of them with each query; with that of the catalog none.
        options += "READ_ONLY" if read_only else "DATA_INLINING_ROW_LIMIT 0"
        if snapshot is not None:
            options += f", SNAPSHOT_VERSION {snapshot}"
        # The catalog remembers where the lake was made; overriding lets people move and copy the folder.
        attach = (
            f"ATTACH {literal(f'ducklake:{source}')} AS {name} "
            f"({options}, DATA_PATH {literal(self.prefix)}, OVERRIDE_DATA_PATH true)"
        )
        return (*self.secrets, attach)

    @property
    def secrets(self) -> Sequence[str]:
        """SQL that makes known what it takes to get there."""
        return tuple(sql for sql in (self.catalog.secret(), self.files.secret()) if sql)


def place_of(where: Place | Path) -> Place:
    """A place; a folder stands for the lake that is all in it."""
    return where if isinstance(where, Place) else Place.within(where)


def bucket_at(url: str, **options: Any) -> Bucket:
    """What `s3://bucket/prefix` names, or `gs://bucket/prefix`.

    Args:
        url: The address.
        options: What `Bucket` takes.

    Raises:
        ConfigError: It is no such address.
    """
    try:
        there = bucket_address(url)
    except ValueError as error:
        raise ConfigError(f"lake.data: {error}") from error
    if there.scheme == "gs" and options.get("endpoint") is None:
        options["endpoint"] = _GOOGLE
    return Bucket(Remote(f"s3://{there.path}"), **options)


def inlined(sql: str, parameters: Iterable[Any]) -> str:
    """SQL with its parameters, `$1` and so on, put in; texts that are in it already stay as they are."""
    values = [as_sql(each) for each in parameters]
    return _PARAMETER.sub(lambda match: match[1] or values[int(match[2]) - 1], sql)


def as_sql(value: Any) -> str:
    """A value as SQL writes it, with U+FFFD for NUL, which no text of PostgreSQL can have."""
    match value:
        case None:
            return "NULL"
        case bool() | int() | float():
            return str(value)
        case _:
            return literal(str(value).replace("\0", "\ufffd"))


def _quoted(value: str) -> str:
    """A value of a connection string."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
