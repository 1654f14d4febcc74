"""Addresses of what is kept elsewhere: databases of PostgreSQL servers, and buckets of object stores."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

_SCHEMES: Final = ("postgresql", "postgres")
_PARAMETERS: Final = ("host", "sslmode", "sslrootcert")
_TLS_MODES: Final = ("disable", "prefer", "require", "verify-ca", "verify-full")
_PORT: Final = 5432


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A database of a PostgreSQL server.

    Attributes:
        host: Its name or address, or the folder of a socket.
        port: Where it listens.
        database: Which database.
        user: As whom.
        password: Of the user, if the address has it.
        parameters: Further ones of the connection, `sslmode` and `sslrootcert`.
        shown: The address as it was written, without the password.
    """

    host: str
    port: int
    database: str
    user: str
    password: str | None = field(repr=False)
    parameters: Mapping[str, str]
    shown: str


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """A part of a bucket.

    Attributes:
        scheme: Whose store it is, `s3` or `gs`.
        path: The bucket, and what names of files begin with in it.
    """

    scheme: str
    path: str


def catalog_address(text: str) -> ServerAddress:
    """Where the catalog of a lake is, by an address such as `postgresql://user@host:5432/database`.

    Its parameters may be `sslmode` and `sslrootcert`, as everywhere with PostgreSQL, and `host`, a server or
    the folder of a socket.

    Raises:
        ValueError: It is no such address; the message says what is expected, without what may be a password.
    """
    return _server(text, _SCHEMES, ("allow", *_TLS_MODES))


def state_address(text: str) -> ServerAddress:
    """Where alerts are kept: as `catalog_address`, for another driver.

    Raises:
        ValueError: As there.
    """
    return _server(text, (*_SCHEMES, "postgresql+pg8000"), _TLS_MODES)


def bucket_address(text: str) -> BucketAddress:
    """What `s3://bucket/prefix` names, or `gs://bucket/prefix`.

    Raises:
        ValueError: It is no such address; the message says what is expected.
    """
    scheme, _, path = text.partition("://")
    if scheme not in {"s3", "gs"} or not path.partition("/")[0] or "?" in path or "#" in path:
        raise ValueError("expected a folder, or an address such as s3://bucket/prefix")
    return BucketAddress(scheme, path.rstrip("/"))


def _server(text: str, schemes: Collection[str], tls_modes: Collection[str]) -> ServerAddress:
    wrong = ValueError("expected an address such as postgresql://user@host/database")
    try:
        parts = urlsplit(text)
        port = _PORT if parts.port is None else parts.port
    except ValueError:
        raise wrong from None  # which may say the password
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    database = unquote(parts.path.removeprefix("/"))
    host = given.get("host") or parts.hostname
    if parts.scheme not in schemes or not parts.username or not host or not port:
        raise wrong
    if not database or "/" in database or parts.fragment:
        raise wrong
    for name in given:
        if name not in _PARAMETERS:
            raise ValueError(f"{name} is not known in an address; sslmode, sslrootcert and host are")
    mode = given.get("sslmode")
    if mode is not None and mode not in tls_modes:
        raise ValueError(f"expected one of {', '.join(tls_modes)} as sslmode, not {mode}")
    place = f"{parts.username}@{parts.netloc.rpartition('@')[2]}"
    return ServerAddress(
        host=host,
        port=port,
        database=database,
        user=unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        parameters={name: value for name, value in given.items() if name != "host"},
        shown=parts._replace(scheme="postgresql", netloc=place).geturl(),
    )
